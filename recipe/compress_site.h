// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "calibration/stats.h"
#include "models/block.h"
#include "recipe/journal.h"
#include "recipe/plan.h"

namespace edgeq {

// Corrects and quantizes (or keeps) one site and leaves in `site.weight` what its codes mean, so that
// everything after it sees what ships.
SiteResult compress_site(const SitePlan& plan, Site& site, const InputStats& stats);

// Puts the weights of an earlier result back into a site.
void restore_site(const SiteResult& result, Site& site);

// Statistics of an input that says nothing: unit second moment in every column. Used where nothing was
// calibrated, and for a look-up, whose rows are read one at a time without a product.
InputStats unit_stats(int64_t width, unsigned needs);

}  // namespace edgeq
