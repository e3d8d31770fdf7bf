// SPDX-License-Identifier: Apache-2.0
// A compressed model as every writer and every proof sees it, wherever its codes lie: a packed file, the
// journal of a run, or a checkpoint whose tensors hold codes. One set of codes goes from here to every
// format.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/quantized_tensor.h"
#include "core/tensor.h"
#include "models/activations.h"
#include "models/config.h"
#include "models/import.h"
#include "models/kv_scheme.h"
#include "models/packed_model.h"
#include "models/tokenizer.h"

namespace edgeq {

// What is known of a weight before it is read.
struct WeightForm {
  std::optional<QuantScheme> scheme;  // codes on this grid; without it:
  DType dtype = DType::f32;           // floats of this type
  int64_t rows = 0, cols = 0;
};

std::string form_text(const WeightForm& form);  // "int4-g64-sym", "F16"

// A weight: codes, or floats in the type they are kept in.
struct CodedWeight {
  std::optional<QuantizedTensor> codes;
  Tensor kept;  // f32, f16 or bf16, when there are no codes

  int64_t rows() const { return codes ? codes->rows : kept.rows(); }
  int64_t cols() const { return codes ? codes->cols : kept.cols(); }
};

// Rows [first, first + count) as the numbers they mean, f32 [count, cols].
Tensor dequantize(const CodedWeight& weight, int64_t first, int64_t count);

// A matrix of `dtype` from its rows in f32, asked for a few at a time: the f32 form of a large table would be
// most of the memory.
using FloatRows = std::function<Tensor(int64_t first, int64_t count)>;
Tensor cast_rows(int64_t rows, int64_t cols, DType dtype, const FloatRows& rows_of);

// Names are edgeq's own (models/names.h), q and k rows in half-split rotary order. Nothing that was read is
// kept: memory is one weight, and its pages of the source are let go. Not thread-safe.
class CodedModel {
 public:
  virtual ~CodedModel() = default;
  virtual const std::string& path() const = 0;  // for messages
  virtual const ModelConfig& config() const = 0;
  virtual Tokenizer tokenizer() const = 0;
  // How the runtime keeps keys and values unless told otherwise.
  virtual KvScheme kv() const { return {}; }
  // How layers with codes read their inputs unless told otherwise.
  virtual Activations activations() const { return Activations::int8_block; }
  // The scale of a site's inputs under Activations::int8_static; 0 where there is none.
  virtual float input_scale(std::string_view) const { return 0; }
  // JSON: where the codes came from.
  virtual std::string provenance_json() const = 0;

  // Sites of all_sites(config). Both throw Error for a site that is not there.
  virtual WeightForm form(std::string_view site) const = 0;
  virtual CodedWeight weight(std::string_view site) const = 0;
  // Norms and biases of all_vectors(config), f32 [n]. Throws Error for one that is not there.
  virtual Tensor vector(std::string_view name) const = 0;
};

std::unique_ptr<CodedModel> coded_model(PackedModel packed);
// Weights without codes keep the type they have in the checkpoint. The provenance names the checkpoint and
// its hash.
std::unique_ptr<CodedModel> coded_model(std::shared_ptr<const Checkpoint> checkpoint);

}  // namespace edgeq
