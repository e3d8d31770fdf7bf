// SPDX-License-Identifier: Apache-2.0
// One linear layer of a safetensors checkpoint whose weight lies in several tensors, "<module>.qweight",
// "<module>.scales" and so on: what the layouts of other tools (gptq.h, awq.h, compressed_tensors.h) share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/quantized_tensor.h"
#include "core/tensor.h"
#include "formats/container.h"

namespace edgeq {

// A part of a layer as it is written: "qweight" and its elements.
struct LayerTensor {
  std::string part;
  Tensor tensor;
};

// A layer as it is read. Every part is checked before it is believed; errors name its tensor.
class CodedLayer {
 public:
  // `rows` and `cols` are what the model's config calls for. The file outlives the layer.
  CodedLayer(const TensorReader& file, std::string module, int64_t rows, int64_t cols)
      : file_(&file), module_(std::move(module)), rows_(rows), cols_(cols) {}

  const std::string& module() const { return module_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }

  const EncodedTensor* find(std::string_view part) const;  // nullptr when absent
  // Throws Error when it is missing, of another type or of another shape.
  const EncodedTensor& get(std::string_view part, Encoding encoding, const Shape& shape) const;
  // A floating tensor of this shape as f32; every number is finite.
  std::vector<float> floats(std::string_view part, const Shape& shape) const;
  // Packed i32 words of this shape.
  std::vector<uint32_t> words(std::string_view part, const Shape& shape) const;
  // Throws Error: "tensor <module>.<part> <what>".
  [[noreturn]] void refuse(std::string_view part, std::string_view what) const;

 private:
  const TensorReader* file_;
  std::string module_;
  int64_t rows_, cols_;
};

// Which group of scales each column uses. Columns are cut in runs of equal length, each within one group; the
// longest such runs are the groups of the scheme that means the same.
struct ColumnGroups {
  int64_t run = 0;              // divides the number of columns
  std::vector<int64_t> of_run;  // [cols / run], each below `count`
  int64_t count = 0;            // groups that the file stores
};

// `group` columns share a scale, 0 for all of them, the last group taking what is left; or, where the layer
// has the i32 part `g_idx` (act-order), each column names its group. Throws Error for a group that does not
// exist.
ColumnGroups column_groups(const CodedLayer& layer, int64_t group, std::string_view g_idx);

// Scales and zero points by row and stored group, [rows, count].
struct GroupTables {
  std::vector<float> scales;
  std::vector<uint8_t> zeros;  // empty: symmetric
};

// Everything of a layer but its codes.
struct LayerFrame {
  QuantScheme scheme;
  ColumnGroups groups;
  GroupTables tables;
};

// The scheme is symmetric when every zero point is the middle code; its scales are f16 when all of them are
// exact in it, else f32. `group` 0 gives a scheme of whole rows.
LayerFrame layer_frame(int bits, int64_t group, ColumnGroups groups, GroupTables tables);
// A weight with the frame's scales and zero points, the codes left 0.
QuantizedTensor without_codes(const CodedLayer& layer, const LayerFrame& frame);

// 32-bit words of a row of codes: codes are one stream of bits, low bits first, and so are the words of every
// layout that is read here.
int64_t code_words(int64_t count, int bits);
uint32_t load_word(const uint8_t* codes, int64_t bytes, int64_t word);  // zero beyond `bytes`
void store_word(uint32_t value, uint8_t* codes, int64_t bytes, int64_t word);

}  // namespace edgeq
