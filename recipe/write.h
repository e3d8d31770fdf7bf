// SPDX-License-Identifier: Apache-2.0
// What a file says of where its codes came from.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/report.h"
#include "formats/output_file.h"
#include "models/import.h"
#include "models/packed_model.h"
#include "recipe/calibrate.h"
#include "recipe/journal.h"
#include "recipe/plan.h"

namespace edgeq {

// Where codes came from: all that another run needs to make the same file, and what each site lost. No times
// or paths, so that equal inputs give equal bytes.
struct Provenance {
  std::string model_name, model_hash;
  std::vector<CalibrationText> texts;  // empty when nothing was calibrated
  int64_t windows = 0, window_tokens = 0;
  std::optional<double> predicted_kl;  // of the choice that a budget made
  std::optional<TuneReport> tuning;
};

std::string provenance_json(const Plan& plan, const Provenance& provenance,
                            const std::vector<SiteReport>& sites);

}  // namespace edgeq
