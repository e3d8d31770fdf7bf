// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "eval/json.h"

namespace edgeq {

// Path of the edgeq-run that lies beside this executable. Throws Error when it is not there.
std::string edgeq_run_path();

// Runs a program (a path, or a name looked up in $PATH), without a shell, and returns what it printed to
// stdout. Throws Error when it cannot be started or does not exit with 0; its stderr is passed through.
std::string run_child(const std::vector<std::string>& arguments);

// `edgeq-run bench MODEL` in a process of its own: speed and memory without anything else that this process
// holds.
MeasuredLatency measure_in_child(const std::string& model, const LatencyOptions& options);

}  // namespace edgeq
