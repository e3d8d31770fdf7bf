// SPDX-License-Identifier: Apache-2.0
// The logits that transformers computes for tiny random models (tests/golden/make_logits.py): both engines
// are held to them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "formats/container.h"
#include "formats/safetensors.h"
#include "models/token.h"

namespace edgeq {

struct GoldenLogits {
  std::string folder;  // the model
  std::vector<TokenId> tokens;
  Tensor logits;  // [tokens, vocab]
};

inline const std::vector<std::string>& golden_variants() {
  static const std::vector<std::string> names = {"llama",
                                                 "llama-rope-llama3",
                                                 "llama-untied-linear",
                                                 "mistral-window",
                                                 "qwen2",
                                                 "qwen3",
                                                 "gemma2",
                                                 "gemma3",
                                                 "phi3-long",
                                                 "phi4-mini-short",
                                                 "phi4",
                                                 "olmo2",
                                                 "granite",
                                                 "stablelm",
                                                 "stablelm-parallel",
                                                 "gpt-neox",
                                                 "gpt2",
                                                 "gpt-neox-sequential",
                                                 "gemma3-scaled"};
  return names;
}

// Of them, the variants whose gradients are taken: every kind of norm, residual, bias and feed-forward once.
inline const std::vector<std::string>& gradient_variants() {
  static const std::vector<std::string> names = {
      "llama", "qwen2", "qwen3", "gemma2", "olmo2", "granite", "stablelm-parallel", "gpt2"};
  return names;
}

// A variant as a part of a test's name, which has no dashes.
inline std::string variant_test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::erase(name, '-');
  return name;
}

inline GoldenLogits read_golden(const std::string& variant) {
  GoldenLogits golden{.folder = std::string(EDGEQ_SOURCE_DIR) + "/tests/golden/logits/" + variant,
                      .tokens = {},
                      .logits = {}};
  const SafetensorsFile file(golden.folder + "/expected.safetensors");
  const EncodedTensor& tokens = *file.find("tokens");
  golden.tokens.resize(size_t(tokens.shape[0]));
  std::memcpy(golden.tokens.data(), tokens.data, size_t(tokens.bytes));
  golden.logits = decode_tensor(*file.find("logits"));
  return golden;
}

// The largest difference as a part of the largest expected logit; infinity when shapes differ.
inline double relative_difference(MatrixView<const float> got, MatrixView<const float> expected) {
  if (got.rows != expected.rows || got.cols != expected.cols) return INFINITY;
  double difference = 0, largest = 0;
  for (int64_t r = 0; r < got.rows; ++r)
    for (int64_t c = 0; c < got.cols; ++c) {
      difference = std::max(difference, std::abs(double(got(r, c)) - double(expected(r, c))));
      largest = std::max(largest, std::abs(double(expected(r, c))));
    }
  return difference / largest;
}

// Two float engines that add in different orders: the bound that the project promises on real models. Tiny
// models stay two orders of magnitude below it.
inline constexpr double kLogitTolerance = 1e-4;

}  // namespace edgeq
