// SPDX-License-Identifier: Apache-2.0
// A size that a pruned model has to fit into, in place of shares. Which shares that means: with s from 0
// upwards, each kind of unit loses as many as a config can say, but no more than a share s of them; the first
// s whose model fits. Then, as kinds go in steps of different size, blocks are given back, then heads, then
// channels, as many as fit.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/config.h"
#include "pruning/structure.h"

namespace edgeq {

enum class SizeUnit : uint8_t {
  parameters,  // of all matrices: layers, embedding, head (once when tied)
  bytes,       // of the same, as floats of the type that is written
  macs,        // multiply-accumulates with weights for one token: layers and head; attention's own, which
               // depend on the context, are not in it
};
struct SizeLimit {
  SizeUnit unit = SizeUnit::parameters;
  int64_t most = 0;
};

std::string_view size_unit_name(SizeUnit unit);
// "100M", "1.5G" (also "1.5B"), "640k", "123"; bytes as in "200MB". Throws Error.
SizeLimit parse_size_limit(std::string_view unit, std::string_view most);
// "parameters=100M", "bytes=200MB", "macs=90M". Throws Error.
SizeLimit parse_size_limit(std::string_view text);

enum class UnitKind : uint8_t { blocks, heads, ffn };  // coarse ones first
double CutShares::*share_of(UnitKind kind);
// "heads,ffn". Throws Error for another name, one that comes twice, and none.
std::vector<UnitKind> parse_unit_kinds(std::string_view text);
std::string unit_kinds_text(std::span<const UnitKind> kinds);  // "heads, ffn"

int64_t size_of(const ModelConfig& config, SizeUnit unit, int64_t bytes_per_weight);

// `fixed` with the shares of `kinds`, which are 0 in it, set by the rule above. Throws Error when the model
// fits as it is, and when it does not fit with all that can go gone, naming the least.
CutShares shares_within(const SizeLimit& limit, std::span<const UnitKind> kinds, const CutShares& fixed,
                        const ModelConfig& config, int64_t bytes_per_weight);

}  // namespace edgeq
