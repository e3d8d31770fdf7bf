// SPDX-License-Identifier: Apache-2.0
// Whatever holds a model: a packed file, a GGUF file, an HDF5 archive or a Hugging Face folder, told apart by
// what it begins with.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/coded_model.h"

namespace edgeq {

// For reading weight by weight: the pages of what was read are let go.
std::shared_ptr<const Checkpoint> open_any_checkpoint(const std::string& path);
std::unique_ptr<CodedModel> open_any_coded(const std::string& path);

// What a file asks of the model that runs it beside its weights, and that is not read; in sentences.
std::vector<std::string> left_out(const std::string& path);

}  // namespace edgeq
