// SPDX-License-Identifier: Apache-2.0
// The main path: a float model walks past block by block, and every site is left as codes in the journal.
#pragma once

#include "calibration/stats_file.h"
#include "core/progress.h"
#include "models/blockwise_model.h"
#include "models/corpus.h"
#include "recipe/journal.h"
#include "recipe/plan.h"

namespace edgeq {

struct CompressInputs {
  const Plan& plan;
  const BlockwiseModel& model;
  const Windows& windows;                // calibration windows; unused when nothing needs statistics
  const StatsMap* statistics = nullptr;  // statistics of the float model from a cache, instead of walking
};

// Compresses what the journal does not hold yet. Statistics of a stage are those of inputs that the already
// compressed part of the model produces (or the cached ones of the float model); where a site is corrected
// for what its predecessors lost, the float model walks beside it. Deterministic: the same bytes for any
// number of threads, and whether or not the run was interrupted.
void compress(const CompressInputs& in, Journal& journal, const Progress& progress);

// Statistics of every stage of the float model in one walk, named "layers.<n>.<stage>" and "head": what
// `edgeq calibrate` caches.
StatsMap float_statistics(const BlockwiseModel& model, const Windows& windows, unsigned needs,
                          const Progress& progress);

}  // namespace edgeq
