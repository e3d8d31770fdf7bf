// SPDX-License-Identifier: Apache-2.0
// Packed models from arbitrary bytes, with and without checksums: only Error may come out, and what an
// accepted model gives lies inside the input and unpacks.
#include <cstddef>
#include <cstdint>

#include "core/error.h"
#include "formats/panels.h"
#include "models/packed_model.h"
#include "models/sites.h"

using namespace edgeq;

namespace {

void check_accepted(const PackedModel& model, const MappedFile& file) {
  const auto inside = [&](std::span<const std::byte> bytes) {
    const auto whole = file.bytes();
    return bytes.data() >= whole.data() && bytes.data() + bytes.size() <= whole.data() + whole.size();
  };
  for (const SiteShape& site : all_sites(model.config())) {
    const PackedWeight& weight = model.weight(site.name);
    EDGEQ_CHECK(inside(weight.panels), "panels lie inside the file");
    if (weight.scheme) {
      unpack_panels(*weight.scheme, weight.rows, weight.cols, weight.panels);
    } else {
      unpack_float_panels(*weight.dtype, weight.rows, weight.cols, weight.panels);
    }
  }
  for (const VectorShape& vector : all_vectors(model.config())) {
    const auto values = model.vector(vector.name);
    EDGEQ_CHECK(int64_t(values.size()) == vector.size && inside(std::as_bytes(values)),
                "vectors lie inside the file");
  }
  EDGEQ_CHECK(inside(model.tokenizer()), "the tokenizer lies inside the file");
  EDGEQ_CHECK(model.bits_per_weight() > 0, "an accepted model has weights");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  const auto file = MappedFile::from_bytes("input", {bytes, bytes + size});
  for (const bool verify : {true, false}) {
    try {
      check_accepted(PackedModel::open(file, {.verify_checksums = verify}), *file);
    } catch (const Error&) {
    }
  }
  return 0;
}
