// SPDX-License-Identifier: Apache-2.0
// The AWQ layout ("GEMM") of one linear layer, as AutoAWQ, vLLM and transformers load it. 4 bits; with `in`
// columns, `out` rows and G = in / group:
//   qweight  i32 [in, out/8]   codes of 8 rows in a word, in the order 0 2 4 6 1 3 5 7 from the low bits
//   qzeros   i32 [G, out/8]    zero points, the same order
//   scales   f16 [G, out]
//   w = scale * (code - zero)
// Always with zero points: tools disagree on files without.
// Source: AutoAWQ, awq/modules/linear/gemm.py and awq/utils/packing_utils.py.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/quantized_tensor.h"
#include "formats/coded_layer.h"

namespace edgeq {

// The scheme of the layer's weight; `group` is the config's, 0 = the whole row. Throws Error naming the
// tensor.
QuantScheme awq_scheme(const CodedLayer& layer, int64_t group);
QuantizedTensor read_awq(const CodedLayer& layer, int64_t group);

// Why the layout, or a tool that loads it, cannot hold such a weight; nullopt when it can.
std::optional<std::string> awq_obstacle(const QuantScheme& scheme, int64_t rows);
// qweight, qzeros and scales. Throws Error for a weight with an obstacle.
std::vector<LayerTensor> write_awq(const QuantizedTensor& weight);

}  // namespace edgeq
