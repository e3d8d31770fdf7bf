// SPDX-License-Identifier: Apache-2.0
// HDF5 archives from arbitrary bytes: only Error may come out, and an accepted archive gives weights of the
// shapes that its config calls for.
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/error.h"
#include "models/archive.h"
#include "models/sites.h"

using namespace edgeq;

namespace {

// The bytes under a name: the library opens its file itself.
class NamedBytes {
 public:
  NamedBytes(const uint8_t* data, size_t size) : descriptor_(::memfd_create("archive", 0)) {
    EDGEQ_CHECK(descriptor_ >= 0 && ::write(descriptor_, data, size) == ssize_t(size), "memory is written");
  }
  ~NamedBytes() { ::close(descriptor_); }
  NamedBytes(const NamedBytes&) = delete;
  NamedBytes& operator=(const NamedBytes&) = delete;
  std::string path() const { return fmt::format("/proc/self/fd/{}", descriptor_); }

 private:
  int descriptor_;
};

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const NamedBytes file(data, size);
  try {
    const auto model = open_archive(file.path());
    for (const SiteShape& site : all_sites(model->config())) {
      const CodedWeight weight = model->weight(site.name);
      EDGEQ_CHECK(weight.rows() == site.rows && weight.cols() == site.cols,
                  "weights have the config's shapes");
    }
    for (const VectorShape& vector : all_vectors(model->config()))
      EDGEQ_CHECK(model->vector(vector.name).size() == vector.size, "vectors have the config's sizes");
    model->tokenizer();
  } catch (const Error&) {
  }
  return 0;
}
