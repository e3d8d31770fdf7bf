// SPDX-License-Identifier: Apache-2.0
// The GPTQ layout of one linear layer, as AutoGPTQ, GPTQModel, vLLM and transformers load it. With `in`
// columns, `out` rows, b bits and G = ceil(in / group):
//   qweight  i32 [ceil(in*b/32), out]   a row's codes as one stream of bits, low bits first, down the words
//   qzeros   i32 [G, ceil(out*b/32)]    zero points, the same stream along the rows
//   scales   f16 [G, out]
//   g_idx    i32 [in]                   the group of each column; absent: i / group
//   w = scale * (code - zero)
// Version 1 stores zero - 1 and version 2 the zero itself. Versions 1 and 2 are told apart only by the
// config's checkpoint_format, and files with a wrong label exist: where the config says that zero points are
// symmetric, their value decides. Widths 2, 3, 4 and 8; others, and "gptq_p", cut codes in planes. Source:
// GPTQModel 7.7, nn_modules/qlinear/__init__.py (pack, dequantize_weight), utils/model.py (v1 to v2).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/quantized_tensor.h"
#include "formats/coded_layer.h"

namespace edgeq {

enum class GptqVersion : uint8_t { v1, v2 };

// What the config says of a layer.
struct GptqSettings {
  int bits = 4;
  int64_t group = 128;     // 0 = the whole row
  bool symmetric = false;  // every zero point is the middle code
  GptqVersion version = GptqVersion::v1;
};

// The scheme of the layer's weight. Columns that use groups out of order (act-order) give groups as long as
// their runs, down to 1. Throws Error naming the tensor: missing, of another shape or type, a scale that is
// not finite, a zero point that contradicts the settings, a group that does not exist.
QuantScheme gptq_scheme(const CodedLayer& layer, const GptqSettings& settings);
// The weight itself, code for code.
QuantizedTensor read_gptq(const CodedLayer& layer, const GptqSettings& settings);

// Why the layout, or a tool that loads it, cannot hold such a weight; nullopt when it can.
std::optional<std::string> gptq_obstacle(const QuantScheme& scheme, int64_t rows, int64_t cols);
// qweight, qzeros, scales and a g_idx in order. Throws Error for a weight with an obstacle, and for a zero
// point of 0 in version 1, which has no place for it.
std::vector<LayerTensor> write_gptq(const QuantizedTensor& weight, GptqVersion version);

}  // namespace edgeq
