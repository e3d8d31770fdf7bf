// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <new>
#include <system_error>

#include "cli/commands.h"
#include "core/error.h"
#include "core/interrupt.h"

namespace edgeq {
namespace {

// The first Ctrl-C asks; a second one ends the process at once.
void on_signal(int signal) {
  request_interrupt();
  std::signal(signal, SIG_DFL);
}

}  // namespace

int run_application(CLI::App& app, int argc, char** argv) {
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file size limit is then a failed write with a message
  const char* program = app.get_name().c_str();
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const Interrupted&) {
    fmt::print(stderr, "{}: interrupted\n", program);
    return 130;
  } catch (const Error& e) {
    fmt::print(stderr, "{}: {}\n", program, e.what());
    if (!e.hint().empty()) fmt::print(stderr, "hint: {}\n", e.hint());
    return 1;
  } catch (const std::system_error& e) {  // the file system or the system's threads, not a promise of ours
    fmt::print(stderr, "{}: {}\n", program, e.what());
    return 1;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "{}: out of memory\n", program);
    return 1;
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}: internal error, please report: {}\n", program, e.what());
    return 70;
  }
}

}  // namespace edgeq
