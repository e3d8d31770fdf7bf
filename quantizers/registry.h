// SPDX-License-Identifier: Apache-2.0
// The visible table of quantizers; `edgeq list quantizers` prints it. A method has no header of its own.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "core/options.h"
#include "core/quant_scheme.h"
#include "quantizers/quantizer.h"

namespace edgeq {

struct QuantizerEntry {
  std::string_view name, summary;
  std::string_view options;  // one line: names, defaults, meaning
  std::unique_ptr<Quantizer> (*make)(const QuantScheme& scheme, const Options& options);
};

std::span<const QuantizerEntry> quantizers();
// Throws Error for an unknown name (listing the known) or option.
std::unique_ptr<Quantizer> make_quantizer(std::string_view name, const QuantScheme& scheme,
                                          const Options& options);

}  // namespace edgeq
