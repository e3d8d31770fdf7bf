// SPDX-License-Identifier: Apache-2.0
// The ceiling that decoding is measured against: how fast this many threads can read memory.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "core/timer.h"
#include "eval/latency.h"

namespace edgeq {
namespace {

// 16 bytes are loaded at once at every platform's baseline; eight independent sums keep enough loads in
// flight that memory, and not the core, is what is waited for.
typedef uint64_t Vector __attribute__((vector_size(16)));
constexpr int64_t kStreams = 8, kVectorsPerLine = 4;

uint64_t sum_of(const Vector* data, int64_t vectors) {
  Vector sums[kStreams] = {};
  for (int64_t i = 0; i + kStreams <= vectors; i += kStreams) {
    // Ahead by 2 KiB, across the page borders where the hardware's own prefetching stops.
    __builtin_prefetch(data + i + 32 * kVectorsPerLine);
    __builtin_prefetch(data + i + 33 * kVectorsPerLine);
    for (int64_t s = 0; s < kStreams; ++s) sums[s] += data[i + s];
  }
  uint64_t total = 0;
  for (const Vector& sum : sums) total += sum[0] + sum[1];
  return total;
}

// Holds `threads` threads back until all are there.
class StartLine {
 public:
  explicit StartLine(int threads) : missing_(threads) {}
  void arrive_and_wait() {
    --missing_;
    while (missing_.load() > 0) std::this_thread::yield();
  }

 private:
  std::atomic<int> missing_;
};

}  // namespace

double probe_read_bandwidth(int64_t bytes, int threads) {
  constexpr int kPasses = 5;
  threads = std::max(threads, 1);
  const int64_t share = bytes / threads / 64 * 4;  // vectors of each thread
  std::vector<Vector> memory(size_t(share * threads), Vector{1, 2});
  std::atomic<uint64_t> sink{0};
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    StartLine line(threads);
    std::vector<double> seconds(static_cast<size_t>(threads));
    std::vector<std::jthread> readers;
    for (int t = 0; t < threads; ++t) {
      readers.emplace_back([&, t] {
        line.arrive_and_wait();
        const Timer timer;
        sink += sum_of(memory.data() + t * share, share);
        seconds[size_t(t)] = timer.seconds();
      });
    }
    readers.clear();
    const double slowest = *std::ranges::max_element(seconds);
    if (slowest > 0) best = std::max(best, double(share * threads * int64_t(sizeof(Vector))) / slowest);
  }
  return best;
}

}  // namespace edgeq
