// SPDX-License-Identifier: Apache-2.0
// The visible tables of transforms, quantizers and refiners; `edgeq list` prints them. A method has no header
// of its own.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "core/options.h"
#include "core/quant_scheme.h"
#include "quantizers/quantizer.h"
#include "quantizers/refiner.h"
#include "quantizers/transform.h"

namespace edgeq {

struct TransformEntry {
  std::string_view name, summary;
  std::string_view options;  // one line: names, defaults, meaning
  std::unique_ptr<Transform> (*make)(const Options& options);
};

std::span<const TransformEntry> transforms();
// Throws Error for an unknown name (listing the known) or option.
std::unique_ptr<Transform> make_transform(std::string_view name, const Options& options);

struct QuantizerEntry {
  std::string_view name, summary;
  std::string_view options;  // one line: names, defaults, meaning
  std::unique_ptr<Quantizer> (*make)(const QuantScheme& scheme, const Options& options);
};

std::span<const QuantizerEntry> quantizers();
// Throws Error for an unknown name (listing the known) or option.
std::unique_ptr<Quantizer> make_quantizer(std::string_view name, const QuantScheme& scheme,
                                          const Options& options);

struct RefinerEntry {
  std::string_view name, summary;
  std::unique_ptr<Refiner> (*make)();
};

std::span<const RefinerEntry> refiners();
// Throws Error for an unknown name (listing the known).
std::unique_ptr<Refiner> make_refiner(std::string_view name);

}  // namespace edgeq
