// SPDX-License-Identifier: Apache-2.0
#include "bench/limits.h"

#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "runtime/kernels/cpu_features.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace edgeq {
namespace {

constexpr int64_t kLoops = 1000, kChains = 12;

void set_operations(benchmark::State& state, double per_instruction) {
  const double count = double(state.iterations()) * double(kLoops * kChains) * per_instruction;
  state.counters["GOP/s"] = benchmark::Counter(count * 1e-9, benchmark::Counter::kIsRate);
}

#if defined(__x86_64__)

#define EDGEQ_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#define EDGEQ_AVX2 __attribute__((target("avx2,fma")))

EDGEQ_AVX512 void bench_dpbusd(benchmark::State& state) {
  __m512i sums[kChains] = {};
  for (auto _ : state)
    for (int64_t i = 0; i < kLoops; ++i)
      for (auto& sum : sums) __asm__ volatile("vpdpbusd %0, %0, %0" : "+v"(sum));
  set_operations(state, 128);
}

EDGEQ_AVX512 void bench_fma_zmm(benchmark::State& state) {
  __m512 sums[kChains] = {};
  for (auto _ : state)
    for (int64_t i = 0; i < kLoops; ++i)
      for (auto& sum : sums) __asm__ volatile("vfmadd231ps %0, %0, %0" : "+v"(sum));
  set_operations(state, 32);
}

EDGEQ_AVX2 void bench_maddubs(benchmark::State& state) {
  __m256i sums[kChains] = {};
  for (auto _ : state)
    for (int64_t i = 0; i < kLoops; ++i)
      for (auto& sum : sums) __asm__ volatile("vpmaddubsw %0, %0, %0" : "+x"(sum));
  set_operations(state, 64);
}

EDGEQ_AVX2 void bench_fma_ymm(benchmark::State& state) {
  __m256 sums[kChains] = {};
  for (auto _ : state)
    for (int64_t i = 0; i < kLoops; ++i)
      for (auto& sum : sums) __asm__ volatile("vfmadd231ps %0, %0, %0" : "+x"(sum));
  set_operations(state, 16);
}

#endif

// Each thread reads its share of 256 MiB.
void bench_read(benchmark::State& state) {
  static const std::vector<uint64_t> memory(size_t(32) << 20, 1);
  const int64_t count = int64_t(memory.size()) / state.threads();
  const uint64_t* begin = memory.data() + count * state.thread_index();
  for (auto _ : state) {
    uint64_t sums[8] = {};
    for (int64_t i = 0; i < count; i += 8) {
      __builtin_prefetch(begin + i + 256);  // never dereferenced, so it may point past the end
      for (int64_t j = 0; j < 8; ++j) sums[j] += begin[i + j];
    }
    benchmark::DoNotOptimize(sums);
  }
  const double bytes = double(state.iterations()) * double(count) * 8;
  state.counters["GB/s"] = benchmark::Counter(bytes * 1e-9, benchmark::Counter::kIsRate);
}

}  // namespace

void register_limits() {
  benchmark::RegisterBenchmark("limit/read", bench_read)->ThreadRange(1, 2);
#if defined(__x86_64__)
  if ((cpu_features() & kAvx512Vnni) != 0) {
    benchmark::RegisterBenchmark("limit/avx512vnni/dpbusd", bench_dpbusd)->ThreadRange(1, 2);
    benchmark::RegisterBenchmark("limit/avx512vnni/fma", bench_fma_zmm)->ThreadRange(1, 2);
  }
  if ((cpu_features() & kAvx2) != 0) {
    benchmark::RegisterBenchmark("limit/avx2/maddubs", bench_maddubs)->ThreadRange(1, 2);
    benchmark::RegisterBenchmark("limit/avx2/fma", bench_fma_ymm)->ThreadRange(1, 2);
  }
#endif
}

}  // namespace edgeq
