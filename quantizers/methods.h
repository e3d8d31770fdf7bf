// SPDX-License-Identifier: Apache-2.0
// What the methods share besides grids, and their makers (a method has no header of its own).
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/options.h"
#include "quantizers/quantizer.h"
#include "quantizers/refiner.h"
#include "quantizers/transform.h"

namespace edgeq {

std::unique_ptr<Quantizer> make_rtn(const QuantScheme& scheme, const Options& options);
std::unique_ptr<Quantizer> make_gptq(const QuantScheme& scheme, const Options& options);
std::unique_ptr<Refiner> make_polish();
std::unique_ptr<Refiner> make_refit();
std::unique_ptr<Transform> make_smooth(const Options& options);
std::unique_ptr<Transform> make_rotate(const Options& options);
std::unique_ptr<Transform> make_awq(const Options& options);

// Throws Error naming the first weight that is NaN or infinite.
void require_finite(MatrixView<const float> weight);

// The option as one of the named values; the first is the default. Another name: Error listing them.
template <class T>
T choice(const Options& options, std::string_view name,
         std::initializer_list<std::pair<std::string_view, T>> values) {
  const std::string chosen = options.text(name, values.begin()->first);
  std::string known;
  for (const auto& [text, value] : values) {
    if (text == chosen) return value;
    known += (known.empty() ? "" : ", ") + std::string(text);
  }
  throw Error("option " + std::string(name) + " is \"" + chosen + "\"; expected one of " + known);
}

// The option `zeros`: from_one keeps zero points in 1..2^bits - 1, as GPTQ's version 1 stores them.
inline int least_zero_option(const Options& options) {
  return choice<int>(options, "zeros", {{"any", 0}, {"from_one", 1}});
}

}  // namespace edgeq
