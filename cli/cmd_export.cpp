// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>

#include "cli/commands.h"
#include "cli/device_bundle.h"

namespace edgeq {

void add_export_command(CLI::App& app) {
  const auto args = std::make_shared<DeviceExport>();
  CLI::App* command = app.add_subcommand("export", "Writes a packed model for the place where it will run");
  command->add_option("model", args->model, "packed file")->required();
  command->add_option("--device", args->device, "device file, such as configs/devices/rpi5.yaml")->required();
  command->add_option("-o,--output", args->output, "folder to write")->required();
  command
      ->add_option("--context", args->context,
                   "tokens that the cache must hold, 0: the model's, at most 2048")
      ->check(CLI::Range(int64_t(0), int64_t(1) << 30))
      ->capture_default_str();
  command->add_option("--edgeq-run", args->edgeq_run,
                      "program for the device, instead of the one beside this build");
  command->footer("Example: edgeq export --device configs/devices/rpi5.yaml -o bundle llama.packed");
  command->callback([args] { export_for_device(*args); });
}

}  // namespace edgeq
