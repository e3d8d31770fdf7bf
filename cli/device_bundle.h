// SPDX-License-Identifier: Apache-2.0
// A folder that goes to a device as it is: the packed model, the program that runs it there, a manifest of
// what to expect, and a script that checks all of it (docs/device.md).
#pragma once

#include <cstdint>
#include <string>

#include "formats/output_file.h"

namespace edgeq {

struct DeviceExport {
  std::string model;   // packed file
  std::string device;  // YAML file, see recipe/device.h
  std::string output;  // folder
  OutputFile::Existing existing = OutputFile::Existing::refuse;
  std::string edgeq_run;  // program for the device; "": what ./dev build left beside this build
  int64_t context = 0;    // tokens that the cache must hold; 0: the model's own, at most 2048
  std::string text;       // to measure the expected perplexity on; "": what the model's report says of it
};

// Writes the folder, whole or not at all, and prints what it holds. Throws Error: the model is not packed or
// does not fit the device, no edgeq-run for its architecture, the folder exists.
void export_for_device(const DeviceExport& options);

}  // namespace edgeq
