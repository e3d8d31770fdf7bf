// SPDX-License-Identifier: Apache-2.0
// Recipe + checkpoint headers -> what happens to each site, in bytes. Everything that can be refused is
// refused here, before any work: `--dry-run` is a plan printed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/import.h"
#include "models/target.h"
#include "quantizers/correction.h"
#include "quantizers/quantizer.h"
#include "quantizers/refiner.h"
#include "quantizers/transform.h"
#include "recipe/recipe.h"
#include "recipe/tuning.h"

namespace edgeq {

struct SitePlan {
  std::string name;
  int64_t rows = 0, cols = 0;
  std::string source;                                    // encoding in the checkpoint: "BF16", "Q4_1"
  std::optional<DType> keep;                             // set: stays float
  QuantScheme scheme;                                    // otherwise
  std::string method;                                    // name of the quantizer, "" when kept
  std::shared_ptr<const Quantizer> quantizer;            // null when kept
  std::optional<Correction> correction;                  // of the weight, before the quantizer
  std::vector<std::shared_ptr<const Refiner>> refiners;  // after the quantizer, in order
  std::string note;   // why the target takes another form than the rule asks for
  int rule = 0;       // index into Recipe::rules
  int64_t bytes = 0;  // in the target's file

  unsigned needs() const;         // Need flags
  std::string treatment() const;  // "gptq int4-g64-sym, corrected 0.5", "keep F16"
};

struct Plan {
  Recipe recipe;
  std::shared_ptr<const Target> target;
  ModelConfig config;
  std::vector<std::shared_ptr<const Transform>> transforms;  // of every block, in order
  std::vector<SitePlan> sites;                               // embedding, blocks in order, head unless tied
  // Of each site, what the budget chooses among, by bytes: one where a rule decides. Until it has chosen,
  // `sites` holds the smallest.
  std::vector<std::vector<SitePlan>> candidates;
  std::optional<Tuning> tuning;  // of what is no code, after all sites
  int64_t budget_bytes = 0;      // for all sites together; 0 without a budget
  int64_t weight_bytes = 0;      // all sites
  int64_t weights = 0;           // number of weights in all sites
  int64_t peak_ram_bytes = 0;    // estimate: one block, hidden states, statistics, the table

  // Whether the budget has yet to choose.
  bool is_open() const;
  int64_t largest_bytes() const;  // all sites, at the largest of their candidates
  const SitePlan& site(std::string_view name) const;
  // Need flags of the sites of one block's stage, or of a table.
  unsigned needs(std::span<const std::string> sites) const;
  // Whether any site or transform needs the model to be walked over calibration text.
  bool needs_statistics() const;
  // Whether calibration text is read: for statistics, or to tune on.
  bool needs_text() const { return needs_statistics() || tuning; }
  // Whether the float model has to be walked back.
  bool needs_gradients() const { return is_open() || tuning; }
  // Whether the float model has to walk beside the compressed one.
  bool needs_two_streams() const;
  double bits_per_weight() const { return 8.0 * double(weight_bytes) / double(weights); }
};

// Throws Error naming the recipe's line: a rule that matches no site, a group that does not divide, a site
// without a rule, a quantizer or option that does not exist, a scheme that the target cannot hold, a budget
// outside of what the candidates take.
Plan make_plan(const Recipe& recipe, const Checkpoint& checkpoint);

// The plan with candidate picks[i] of each site i.
Plan choose(Plan plan, std::span<const int> picks);

// The options of a rule, with what the target asks of codes that are chosen for it.
Options target_options(Options options, const Placed& placed);

// A table for people: one line per kind of site, then the totals.
std::string plan_text(const Plan& plan);

}  // namespace edgeq
