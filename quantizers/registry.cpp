// SPDX-License-Identifier: Apache-2.0
#include "quantizers/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/text.h"
#include "quantizers/methods.h"

namespace edgeq {
namespace {

constexpr TransformEntry kTransforms[] = {
    {"smooth", "evens out the channels of inputs and weights, so that both round well (SmoothQuant)",
     "alpha: 0.5 (0..1: how much of the unevenness of inputs moves to the weights)", make_smooth},
    {"awq", "scales up the weights of strong channels, as far as rounding them loses least (AWQ)",
     "steps: 20 (of the search)", make_awq},
    {"rotate", "turns the values of every head by a Hadamard matrix, which spreads outliers (QuaRot)",
     "seed: 1 (of the signs)", make_rotate},
};

constexpr QuantizerEntry kQuantizers[] = {
    {"rtn", "round to nearest, group by group; needs no calibration",
     "search: none (default; the grid spans the extremes), mse (least squared weight error), weighted (by "
     "the mean "
     "square of each input); zeros: any (default), from_one (as GPTQ's version 1 stores them)",
     make_rtn},
    {"gptq",
     "rounding with error feedback through the second moment of the inputs; the best at 4 bits and below",
     "damp: 0.01 (0..1, of the mean diagonal; raised when it does not suffice); order: group (default), "
     "none; "
     "scale_weights: feedback (default), hessian, none; search: mse (default), none; zeros: any (default), "
     "from_one",
     make_gptq},
};

constexpr RefinerEntry kRefiners[] = {
    {"polish", "moves each code to the best one while all others stay; one sweep", make_polish},
    {"refit", "least-squares scales for the codes as they are", make_refit},
};

template <class Entry>
const Entry& entry_of(std::span<const Entry> table, std::string_view kind, std::string_view name) {
  std::vector<std::string> known;
  for (const Entry& entry : table) {
    if (entry.name == name) return entry;
    known.emplace_back(entry.name);
  }
  Error error(fmt::format("unknown {} \"{}\"; expected one of {}", kind, name, fmt::join(known, ", ")));
  if (const auto meant = nearest_name(name, known)) error.set_hint(fmt::format("did you mean {}?", *meant));
  throw error;
}

}  // namespace

std::span<const TransformEntry> transforms() { return kTransforms; }
std::span<const QuantizerEntry> quantizers() { return kQuantizers; }
std::span<const RefinerEntry> refiners() { return kRefiners; }

std::unique_ptr<Transform> make_transform(std::string_view name, const Options& options) {
  auto transform = entry_of(transforms(), "transform", name).make(options);
  with_context(name, [&] { options.finish(); });
  return transform;
}

std::unique_ptr<Quantizer> make_quantizer(std::string_view name, const QuantScheme& scheme,
                                          const Options& options) {
  auto quantizer = entry_of(quantizers(), "quantizer", name).make(scheme, options);
  with_context(name, [&] { options.finish(); });
  return quantizer;
}

std::unique_ptr<Refiner> make_refiner(std::string_view name) {
  return entry_of(refiners(), "refiner", name).make();
}

void require_finite(MatrixView<const float> weight) {
  for (int64_t r = 0; r < weight.rows; ++r)
    for (int64_t c = 0; c < weight.cols; ++c)
      if (!std::isfinite(weight(r, c)))
        throw Error(fmt::format("weight [{}, {}] is {}; expected a finite number", r, c, weight(r, c)));
}

}  // namespace edgeq
