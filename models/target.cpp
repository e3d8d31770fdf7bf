// SPDX-License-Identifier: Apache-2.0
#include "models/target.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

#include "core/error.h"
#include "models/targets.h"

namespace edgeq {
namespace {

constexpr TargetEntry kTargets[] = {
    {"packed", "edgeq's own file: mapped and run; holds every scheme", make_packed_target, false},
    {"gguf", "llama.cpp: each weight in the block type that keeps its codes", make_gguf_target, false},
    {"gguf:q4_0", "llama.cpp: 4-bit symmetric, groups of 32", make_gguf_target, false},
    {"gguf:iq4_nl", "llama.cpp: 4-bit, uneven levels, groups of 32", make_gguf_target, false},
    {"gguf:q4_1", "llama.cpp: 4-bit with an offset, groups of 32", make_gguf_target, false},
    {"gguf:q5_0", "llama.cpp: 5-bit symmetric, groups of 32", make_gguf_target, false},
    {"gguf:q5_1", "llama.cpp: 5-bit with an offset, groups of 32", make_gguf_target, false},
    {"gguf:q8_0", "llama.cpp: 8-bit symmetric, groups of 32", make_gguf_target, false},
    {"gguf:q4_k", "llama.cpp: 4-bit with an offset, scales in two levels", make_gguf_target, false},
    {"gguf:q5_k", "llama.cpp: 5-bit with an offset, scales in two levels", make_gguf_target, false},
    {"gguf:q6_k", "llama.cpp: 6-bit symmetric, scales in two levels", make_gguf_target, false},
    {"gguf:f32", "llama.cpp: floats", make_gguf_target, false},
    {"gguf:f16", "llama.cpp: floats rounded to f16", make_gguf_target, false},
    {"gguf:bf16", "llama.cpp: floats rounded to bf16", make_gguf_target, false},
    {"f32", "Hugging Face folder of floats", make_hf_target, false},
    {"f16", "Hugging Face folder of floats rounded to f16", make_hf_target, false},
    {"bf16", "Hugging Face folder of floats rounded to bf16", make_hf_target, false},
    {"gptq", "GPTQModel, vLLM, transformers: 2, 3, 4, 8 bits", make_hf_target, true},
    {"gptq-v2", "the same, zero points may be 0", make_hf_target, true},
    {"awq", "AutoAWQ, vLLM, transformers: 4 bits, asymmetric", make_hf_target, true},
    {"compressed-tensors", "llm-compressor, vLLM: W4A16, W8A16", make_hf_target, true},
    {"compressed-tensors-w8a8", "llm-compressor, vLLM: 8 bits, activations too when it runs", make_hf_target,
     false},
    {"hdf5", "an archive for h5py and HDFView; holds every scheme", make_hdf5_target, false},
};

}  // namespace

std::span<const TargetEntry> targets() { return kTargets; }

std::shared_ptr<const Target> parse_target(std::string_view name) {
  std::vector<std::string_view> known;
  for (const TargetEntry& entry : kTargets) {
    const bool with_group = entry.takes_group && name.starts_with(entry.name) &&
                            name.size() > entry.name.size() + 1 && name[entry.name.size()] == ':';
    if (entry.name == name || with_group) return entry.make(name);
    known.push_back(entry.name);
  }
  throw Error(fmt::format("target \"{}\" is unknown; expected one of {}", name, fmt::join(known, ", ")));
}

}  // namespace edgeq
