// SPDX-License-Identifier: Apache-2.0
// A quantized folder from arbitrary bytes: a quantization_config, a zero byte, a safetensors file. Only Error
// may come out; a layer that is accepted can be read, and its codes make numbers.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "core/error.h"
#include "formats/safetensors.h"
#include "models/coded_folder.h"

using namespace edgeq;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string_view config_text = text.substr(0, text.find('\0'));
  try {
    const QuantizationConfig config(config_text);
    config.settings("model.layers.0.mlp.up_proj");
    const auto* bytes = reinterpret_cast<const std::byte*>(data);
    if (config_text.size() == size) return 0;
    const auto folder = open_coded_folder(std::make_unique<SafetensorsFile>(MappedFile::from_bytes(
                                              "input", {bytes + config_text.size() + 1, bytes + size})),
                                          config);
    for (const EncodedTensor& tensor : folder->tensors()) {
      if (tensor.codes == nullptr) continue;
      const QuantizedTensor q = tensor.codes->read();
      EDGEQ_CHECK(Shape({q.rows, q.cols}) == tensor.shape, "codes have the shape that was promised");
      decode_tensor(tensor);
    }
  } catch (const Error&) {
  }
  return 0;
}
