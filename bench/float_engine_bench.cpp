// SPDX-License-Identifier: Apache-2.0
// What the LibTorch engine costs: seconds per window of the blockwise walk that calibration takes, of a whole
// window through the language model, and of one more token; on 1, 2, ... threads.
//   float_engine_bench MODEL [window tokens = 512] [windows = 4]
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "cli/torch_engine.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/random.h"

namespace edgeq {
namespace {

// Wall and CPU time of what ran since construction. On a busy machine only the second means anything.
struct Seconds {
  double wall = 0, cpu = 0;
};
class Stopwatch {
 public:
  Seconds elapsed() const {
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - wall_;
    return {wall.count(), double(std::clock() - cpu_) / CLOCKS_PER_SEC};
  }

 private:
  std::chrono::steady_clock::time_point wall_ = std::chrono::steady_clock::now();
  std::clock_t cpu_ = std::clock();
};

double peak_gb() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return double(usage.ru_maxrss) / 1e6;  // from kB
}

std::vector<std::vector<TokenId>> random_windows(int64_t vocab, int64_t tokens, int64_t count) {
  Random random(1);
  std::vector<std::vector<TokenId>> windows;
  for (int64_t i = 0; i < count; ++i) {
    std::vector<TokenId>& window = windows.emplace_back(static_cast<size_t>(tokens));
    for (TokenId& token : window) token = TokenId(random.below(uint64_t(vocab)));
  }
  return windows;
}

// All windows side by side, block after block, as calibration does it; per window.
Seconds walk(const BlockwiseModel& model, const std::vector<std::vector<TokenId>>& windows) {
  const Ends ends = model.ends();
  std::vector<State> states(windows.size());
  const auto count = std::ssize(windows);
  Seconds total;
  const auto timed = [&](const auto& body) {
    const Stopwatch stopwatch;
    parallel_for(count, body);
    const Seconds one = stopwatch.elapsed();
    total = {total.wall + one.wall / double(count), total.cpu + one.cpu / double(count)};
  };
  timed([&](int64_t i) { states[size_t(i)] = model.begin(windows[size_t(i)], ends); });
  for (int b = 0; b < std::ssize(model.config().layers); ++b) {
    const Block block = model.load(b);  // reading is not part of the figure
    timed([&](int64_t i) { model.enter(block, states[size_t(i)]); });
    for (int s = 0; s < std::ssize(block.stages); ++s)
      timed([&](int64_t i) { model.step(block, s, states[size_t(i)]); });
  }
  return total;
}

Seconds whole_window(const LanguageModel& model, const std::vector<TokenId>& window) {
  Seconds best{1e9, 1e9};
  for (int i = 0; i < 3; ++i) {
    const auto session = model.start({.max_tokens = std::ssize(window)});
    const Stopwatch stopwatch;
    session->feed(window, Logits::all);
    const Seconds one = stopwatch.elapsed();
    best = {std::min(best.wall, one.wall), std::min(best.cpu, one.cpu)};
  }
  return best;
}

// Per token, after the window.
Seconds decode(const LanguageModel& model, const std::vector<TokenId>& window) {
  constexpr int kTokens = 32;
  const auto session = model.start({.max_tokens = std::ssize(window) + kTokens});
  session->feed(window, Logits::none);
  const Stopwatch stopwatch;
  for (int i = 0; i < kTokens; ++i) session->feed(std::span(window).first(1), Logits::last);
  const Seconds all = stopwatch.elapsed();
  return {all.wall / kTokens, all.cpu / kTokens};
}

void print(std::string_view what, int threads, const Seconds& seconds) {
  fmt::print("{:24} {} threads  wall {:.4f} s  cpu {:.4f} s\n", what, threads, seconds.wall, seconds.cpu);
}

void measure(const std::string& path, int64_t tokens, int64_t count) {
  const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(path);
  const auto windows = random_windows(checkpoint->config().vocab, tokens, count);
  const TorchModule& module = torch_module();
  const auto blockwise = module.open_blockwise(checkpoint);
  const int cores = thread_count();
  fmt::print("LibTorch {}, {} windows of {} tokens\n", module.libtorch, count, tokens);
  for (int threads = 1; threads <= cores; threads *= 2) {
    set_thread_count(threads);
    print("walk, per window", threads, walk(*blockwise, windows));
  }
  fmt::print("walk: peak resident {:.2f} GB\n", peak_gb());
  const auto model = module.open_model(*checkpoint);
  for (int threads = 1; threads <= cores; threads *= 2) {
    set_thread_count(threads);
    print("model, whole window", threads, whole_window(*model, windows[0]));
    print("model, one more token", threads, decode(*model, windows[0]));
  }
  fmt::print("model: peak resident {:.2f} GB, weights {:.2f} GB\n", peak_gb(),
             double(model->weight_bytes()) / 1e9);
}

}  // namespace
}  // namespace edgeq

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: float_engine_bench MODEL [window tokens] [windows]\n");
    return 2;
  }
  try {
    edgeq::measure(argv[1], argc > 2 ? std::stol(argv[2]) : 512, argc > 3 ? std::stol(argv[3]) : 4);
  } catch (const edgeq::Error& error) {
    fmt::print(stderr, "float_engine_bench: {}\n", error.what());
    return 1;
  }
}
