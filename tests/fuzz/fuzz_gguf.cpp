// SPDX-License-Identifier: Apache-2.0
// GGUF files from arbitrary bytes: only Error may come out, of opening as of every access, and accepted
// tensors lie inside the input.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/error.h"
#include "formats/gguf.h"
#include "formats/gguf_blocks.h"

using namespace edgeq;

namespace {

template <class Action>
void allow_errors(Action&& action) {
  try {
    action();
  } catch (const Error&) {
  }
}

// Asks for the value as every type; at most one kind answers.
void read_key(const GgufFile& file, std::string_view key) {
  int answers = 0;
  const auto ask = [&](auto&& find) { allow_errors([&] { answers += find().has_value(); }); };
  ask([&] { return file.find_int(key); });
  ask([&] { return file.find_float(key); });
  ask([&] { return file.find_bool(key); });
  ask([&] { return file.find_string(key); });
  ask([&] { return file.find_ints(key); });
  ask([&] { return file.find_floats(key); });
  ask([&] { return file.find_strings(key); });
  EDGEQ_CHECK(answers <= 1, "a value has one type");
}

void read_tensor(const GgufFile& file, const EncodedTensor& tensor) {
  const auto bytes = file.file()->bytes();
  EDGEQ_CHECK(tensor.data >= bytes.data() && tensor.bytes >= 0 &&
                  tensor.data + tensor.bytes <= bytes.data() + bytes.size(),
              "an accepted tensor lies inside the file");
  EDGEQ_CHECK(file.find(tensor.name) == &tensor, "an accepted tensor is found by its name");
  allow_errors([&] { decode_tensor(tensor); });
  allow_errors([&] {
    const QuantizedTensor codes = quantized_from_blocks(tensor);
    EDGEQ_CHECK(int64_t(encode_blocks(codes).size()) == tensor.bytes, "blocks come back in their size");
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  allow_errors([&] {
    const GgufFile file(MappedFile::from_bytes("input", {bytes, bytes + size}));
    for (const std::string_view key : file.keys()) read_key(file, key);
    for (const EncodedTensor& tensor : file.tensors()) read_tensor(file, tensor);
  });
  return 0;
}
