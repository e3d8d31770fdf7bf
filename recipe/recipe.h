// SPDX-License-Identifier: Apache-2.0
// A recipe says what happens to a model: which text calibrates, what each site becomes, and how the result is
// proved. One value for what a YAML file means; docs/recipes.md describes the file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "calibration/observer.h"
#include "core/dtype.h"
#include "core/options.h"
#include "core/quant_scheme.h"
#include "models/activations.h"
#include "models/kv_scheme.h"
#include "recipe/budget.h"
#include "recipe/prune_spec.h"
#include "recipe/training_spec.h"

namespace edgeq {

// The first rule whose pattern matches a site's name decides about it.
struct Rule {
  std::string match;                 // glob on our own site names (models/names.h)
  std::optional<DType> keep;         // f32, f16 or bf16: the site stays float; otherwise:
  std::string quantizer;             // name in quantizers/registry.h
  std::vector<QuantScheme> schemes;  // one; or several, among which the budget chooses
  Options options;
  std::optional<Options> correct;   // set: make up for compressed predecessors (quantizers/correction.h)
  std::vector<std::string> refine;  // names in quantizers/registry.h, applied in this order
  int line = 0;                     // in the recipe file, for messages
};

// A rewriting of every block's weights before they are quantized (quantizers/transform.h).
struct TransformSpec {
  std::string name;  // in quantizers/registry.h
  Options options;
  int line = 0;
};

// Names of texts that are no paths.
constexpr std::string_view kDefaultCorpus = "default";  // what comes with edgeq
constexpr std::string_view kSelfCorpus = "self";        // what the model itself writes

struct CalibrationSpec {
  std::vector<std::string> corpus;  // paths of texts and the names above; empty = kDefaultCorpus
  int64_t windows = 64, tokens = 512;
  Activations inputs = Activations::f32;  // as what layers with codes read them; the runtime's default
  Observer observer = Observer::mse;      // of Activations::int8_static
  std::string statistics;  // path of an HDF5 cache written by `edgeq calibrate`; "" = walk the model
};

struct ProofSpec {
  std::string corpus;                         // "" = no proof
  int64_t windows = 0, context = 512;         // windows 0 = all that the text has
  int64_t prompt_tokens = 512, tokens = 128;  // for latency
  std::string prompt;                         // for the sample in the report, "" = none
  std::vector<std::string> tasks;             // multiple-choice tasks (eval/tasks.h)
  int64_t task_items = 0;                     // of each, from the start, 0 = all
};

struct Recipe {
  std::string name;               // file name without ending
  std::string title;              // one line for tables and lists
  std::string model;              // path, "" = given on the command line
  std::string target = "packed";  // what the result is written for (models/target.h); fixes the grid
  KvScheme kv;                    // how the runtime keeps keys and values unless told otherwise
  CalibrationSpec calibration;
  std::optional<PruneSpec> prune;         // before everything else
  std::optional<TrainingSpec> heal;       // what was pruned, after the model it was; without data: on the
                                          // texts of calibration
  std::vector<TransformSpec> transforms;  // in this order
  std::vector<Rule> rules;
  std::optional<Budget> budget;
  std::optional<Options> tune;  // set: train what is no code afterwards (recipe/tuning.h)
  ProofSpec prove;
  std::vector<std::string> compare;  // other recipes, run on the same model and shown beside it in the report
  std::string output;                // path of the packed file, "" = given on the command line
  std::string text;                  // the YAML itself, for provenance
};

}  // namespace edgeq
