// SPDX-License-Identifier: Apache-2.0
// The ceiling that decoding is measured against: how fast this many threads can read as much memory as one
// token touches. The best of several ways to read it, since which is best differs between machines.
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
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

// With kPrefetch ahead by 2 KiB, across the page borders where the hardware's own prefetching stops.
template <bool kPrefetch>
uint64_t sum_of(const Vector* data, int64_t vectors) {
  Vector sums[kStreams] = {};
  for (int64_t i = 0; i + kStreams <= vectors; i += kStreams) {
    if constexpr (kPrefetch) {
      __builtin_prefetch(data + i + 32 * kVectorsPerLine);
      __builtin_prefetch(data + i + 33 * kVectorsPerLine);
    }
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

constexpr size_t kHugePage = size_t{2} << 20;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<Vector, Free>;

// Null when there is no such memory.
Memory fresh_memory(size_t bytes, bool huge_pages) {
  const size_t rounded = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  Memory memory(static_cast<Vector*>(std::aligned_alloc(kHugePage, rounded)));
  if (memory == nullptr) return memory;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (madvise(memory.get(), rounded, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) != 0 && huge_pages)
    return nullptr;
#else
  if (huge_pages) return nullptr;
#endif
  std::memset(memory.get(), 1, rounded);
  return memory;
}

// Bytes a second of one pass over everything, each thread over its share.
double read_once(const Vector* memory, int64_t share, int threads, uint64_t (*sum)(const Vector*, int64_t)) {
  StartLine line(threads);
  std::atomic<uint64_t> sink{0};
  std::vector<double> seconds(static_cast<size_t>(threads));
  std::vector<std::jthread> readers;
  for (int t = 0; t < threads; ++t) {
    readers.emplace_back([&, t] {
      line.arrive_and_wait();
      const Timer timer;
      sink += sum(memory + t * share, share);
      seconds[size_t(t)] = timer.seconds();
    });
  }
  readers.clear();
  const double slowest = *std::ranges::max_element(seconds);
  return slowest > 0 ? double(share * threads * int64_t(sizeof(Vector))) / slowest : 0;
}

}  // namespace

double probe_read_bandwidth(int64_t bytes, int threads) {
  constexpr int kPasses = 7;
  threads = std::max(threads, 1);
  const int64_t share = std::max<int64_t>(bytes / threads / 128, 1) * 8;  // vectors of each thread
  double best = 0;
  for (const bool huge_pages : {false, true}) {
    const Memory memory = fresh_memory(size_t(share * threads) * sizeof(Vector), huge_pages);
    if (memory == nullptr) continue;
    for (int pass = 0; pass < kPasses; ++pass)
      for (const auto sum : {sum_of<false>, sum_of<true>})
        best = std::max(best, read_once(memory.get(), share, threads, sum));
  }
  return best;
}

}  // namespace edgeq
