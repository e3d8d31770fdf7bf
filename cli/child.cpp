// SPDX-License-Identifier: Apache-2.0
#include "cli/child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/error.h"
#include "core/interrupt.h"

extern char** environ;

namespace edgeq {

std::string edgeq_run_path() {
  const auto path = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "edgeq-run";
  if (!std::filesystem::exists(path))
    throw Error(fmt::format("{}: missing; expected beside edgeq, where latency and memory are measured",
                            path.string()));
  return path.string();
}

std::string run_child(const std::vector<std::string>& arguments) {
  int pipe_ends[2];
  if (pipe2(pipe_ends, O_CLOEXEC) != 0)
    throw Error(fmt::format("{}: {}", arguments[0], std::strerror(errno)));
  std::vector<char*> argv;
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
  pid_t child = 0;
  const int error = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(pipe_ends[1]);
  if (error != 0) {
    close(pipe_ends[0]);
    throw Error(fmt::format("{}: cannot be started: {}", arguments[0], std::strerror(error)));
  }
  std::string output;
  char buffer[4096];
  for (;;) {
    const ssize_t got = read(pipe_ends[0], buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    output.append(buffer, size_t(got));
  }
  close(pipe_ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  check_interrupt();
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw Error(fmt::format("{} {}: failed", arguments[0], arguments.size() > 1 ? arguments[1] : ""));
  return output;
}

MeasuredLatency measure_in_child(const std::string& model, const LatencyOptions& options) {
  return parse_latency_json(run_child(
      {edgeq_run_path(), "bench", model, "--json", "--prompt-tokens", std::to_string(options.prompt_tokens),
       "--tokens", std::to_string(options.tokens), "--repeats", std::to_string(options.repeats), "--threads",
       std::to_string(options.threads)}));
}

}  // namespace edgeq
