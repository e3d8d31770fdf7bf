// SPDX-License-Identifier: Apache-2.0
// The layouts of the compressed-tensors library (llm-compressor, vLLM, transformers) for one linear layer.
// With `in` columns, `out` rows, b bits, G = in / group, and q = code - 2^(b-1):
//   pack-quantized    weight_packed      i32 [out, ceil(in*b/32)]   a row's codes as one stream of bits, low
//   first
//                     weight_shape       i64 [2]                    out, in
//   int-quantized     weight             i8 [out, in]               q
//   both              weight_scale       floats [out, G]            any floating type; [1] for a whole tensor
//                     weight_zero_point  asymmetric only: i32 [ceil(out*b/32), G], zero points packed as
//                     codes
//                                        along the rows; int-quantized: i8 [out, G], zero - 2^(b-1)
//                     weight_g_idx       i32 [in], the group of each column (act-order, older files)
//   w = scale * (q - z)
// Widths 2, 4 and 8: the library changed how others lie.
// Source: compressed-tensors 0.19, compressors/pack_quantized/{base,helpers}.py, naive_quantized/base.py.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/quantized_tensor.h"
#include "formats/coded_layer.h"

namespace edgeq {

enum class CompressedFormat : uint8_t { pack_quantized, int_quantized };

// What the config says of a layer.
struct CompressedSettings {
  CompressedFormat format = CompressedFormat::pack_quantized;
  int bits = 4;
  int64_t group = 128;  // 0 = the whole row
  bool symmetric = true;
};

// The scheme of the layer's weight. Throws Error naming the tensor.
QuantScheme compressed_scheme(const CodedLayer& layer, const CompressedSettings& settings);
QuantizedTensor read_compressed(const CodedLayer& layer, const CompressedSettings& settings);

// Why the layout, or a tool that loads it, cannot hold such a weight; nullopt when it can.
std::optional<std::string> compressed_obstacle(CompressedFormat format, const QuantScheme& scheme);
// The layer's tensors; scales that are kept as f16 are written as f16, all others as f32. Throws Error for a
// weight with an obstacle.
std::vector<LayerTensor> write_compressed(CompressedFormat format, const QuantizedTensor& weight);

}  // namespace edgeq
