// SPDX-License-Identifier: Apache-2.0
// Safetensors files and indices from arbitrary bytes: only Error may come out, and what is accepted lies
// inside the input and survives being written again.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/error.h"
#include "formats/safetensors.h"

using namespace edgeq;

namespace {

void read_file(const std::byte* data, size_t size) {
  const SafetensorsFile file(MappedFile::from_bytes("input", {data, data + size}));
  const auto bytes = file.file()->bytes();
  for (const EncodedTensor& tensor : file.tensors()) {
    EDGEQ_CHECK(tensor.data >= bytes.data() && tensor.bytes >= 0 &&
                    tensor.data + tensor.bytes <= bytes.data() + bytes.size(),
                "an accepted tensor lies inside the file");
    EDGEQ_CHECK(file.find(tensor.name) == &tensor, "an accepted tensor is found by its name");
    if (is_plain(tensor.encoding) && is_floating(plain_dtype(tensor.encoding)))
      EDGEQ_CHECK(decode_tensor(tensor).size() == element_count(tensor.shape), "it decodes to its shape");
  }
}

void read_header(std::string_view text) {
  const SafetensorsHeader header = parse_safetensors_header(text);
  const std::string written = safetensors_header_text(header);
  EDGEQ_CHECK(safetensors_header_text(parse_safetensors_header(written)) == written,
              "an accepted header is written as it is read");
}

template <class Action>
void allow_errors(Action&& action) {
  try {
    action();
  } catch (const Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  allow_errors([&] { read_file(bytes, size); });
  allow_errors([&] { read_header(text); });
  allow_errors([&] { parse_safetensors_index(text); });
  return 0;
}
