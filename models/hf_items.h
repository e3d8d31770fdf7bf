// SPDX-License-Identifier: Apache-2.0
// The tensors of a Hugging Face folder that is to be written, and which tensors of ours lie in each: Phi-3
// keeps q, k and v in one matrix, GPT-NeoX by head, GPT-2 transposed.
#pragma once

#include <string>
#include <vector>

#include "models/coded_model.h"
#include "models/export_hf.h"
#include "models/names.h"

namespace edgeq {

struct HfMember {
  std::string name;  // ours
  Placement place;
};

struct HfItem {
  std::string name;  // of the stored tensor: "model.layers.0.mlp.up_proj.weight"
  std::vector<HfMember> members;
  WeightForm form;      // of the stored tensor, [out, in]; vectors have one column
  bool weight = false;  // of sites; else norms, biases, positions
  bool table = false;   // the embedding
  bool vector = false;  // stored with one dimension

  std::string module() const { return name.substr(0, name.rfind('.')); }
  // The member is all there is, in our order.
  bool plain() const;
  Shape shape() const;
};

// In the order of writing. Throws Error for matrices that lie in one but have different forms.
std::vector<HfItem> hf_items(const CodedModel& model, const HfOptions& options);

// The stored tensor put together: codes [out, in], or f32 of the stored shape.
QuantizedTensor hf_codes(const CodedModel& model, const HfItem& item);
Tensor hf_floats(const CodedModel& model, const HfItem& item);

}  // namespace edgeq
