// SPDX-License-Identifier: Apache-2.0
// Speed of every kernel that this CPU runs, on the shapes of SmolLM2-135M. Weights of one benchmark together
// exceed the last-level cache where the name says "stream", so that one token's pass is measured from memory.
//   ninja -C build/release kernels_bench && build/release/bin/kernels_bench
// Counters, per second of CPU time (so that other load disturbs them less) and per thread: GB/s of packed
// weights read, GOP/s (2 per multiply-add). "limit" rows are what the machine can do: a loop of the kernels'
// own instruction on registers only, and a plain read of memory.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "bench/limits.h"
#include "core/random.h"
#include "runtime/kernels/kernel_table.h"
#include "tests/kernels/matrices.h"

namespace edgeq {
namespace {

constexpr int64_t kStreamBytes = 64 << 20;

struct MatrixShape {
  const char* name;
  int64_t rows, cols;
};
constexpr MatrixShape kShapes[] = {
    {"attention", 576, 576}, {"up", 1536, 576}, {"down", 576, 1536}, {"head", 49152, 576}};

void report(benchmark::State& state, double weights, double bytes, double tokens) {
  const double passes = double(state.iterations());
  state.counters["GB/s"] = benchmark::Counter(passes * bytes * 1e-9, benchmark::Counter::kIsRate);
  state.counters["GOP/s"] =
      benchmark::Counter(passes * 2 * weights * tokens * 1e-9, benchmark::Counter::kIsRate);
}

struct MatmulCase {
  const KernelTable* table;
  const char* scheme;
  MatrixShape shape;
  int64_t tokens;
  bool stream;  // beyond the caches: copies of the matrix, each pass takes the next
};

// The weights of a case, kept until another scheme or shape is asked for.
struct MatmulWeights {
  std::string key;
  int64_t copies = 0;
  std::shared_ptr<const PackedQuantized> packed;
};

MatmulWeights weights_of(const MatmulCase& c) {
  static std::mutex mutex;
  static MatmulWeights kept;
  const std::lock_guard lock(mutex);
  const auto key = fmt::format("{} {} {}", c.scheme, c.shape.name, c.stream);
  if (kept.key == key) return kept;
  Random random(1);
  const auto tensor = random_quantized(parse_scheme(c.scheme), c.shape.rows, c.shape.cols, random);
  const int64_t copies = c.stream ? kStreamBytes / tensor.stored_bytes() + 1 : 1;
  kept = {key, copies, std::make_shared<const PackedQuantized>(tensor, copies)};
  return kept;
}

// Each thread takes its share of the panels, as the runtime's threads do.
void bench_matmul(benchmark::State& state, const MatmulCase& c) {
  const MatmulWeights weights = weights_of(c);
  Random random(1);
  const QuantizedInput input(*c.table, random_floats(c.tokens * c.shape.cols, random), c.tokens,
                             c.shape.cols);
  const int64_t panels = weights.packed->panels(), stride = panels * kPanelRows;
  const int64_t begin = panels * state.thread_index() / state.threads();
  const int64_t end = panels * (state.thread_index() + 1) / state.threads();
  std::vector<float> y(size_t(c.tokens * stride));
  int64_t copy = 0;
  for (auto _ : state) {
    c.table->matmul(weights.packed->kernel_weight(copy), input.kernel_input(), y.data(), stride, begin, end);
    copy = (copy + 1) % weights.copies;
    benchmark::ClobberMemory();
  }
  const double share = double(end - begin) / double(panels);
  report(state, share * double(c.shape.rows * c.shape.cols), share * double(weights.packed->bytes()),
         double(c.tokens));
}

void bench_float_matmul(benchmark::State& state, const KernelTable& table, DType type, MatrixShape shape,
                        int64_t tokens) {
  Random random(1);
  Tensor matrix(DType::f32, {shape.rows, shape.cols});
  std::ranges::generate_n(matrix.f32(), matrix.size(), [&] { return float(random.normal()); });
  const PackedFloat weight(matrix, type);
  const auto x = random_floats(tokens * shape.cols, random);
  std::vector<float> y(size_t(tokens * weight.panels() * kPanelRows));
  for (auto _ : state) {
    table.float_matmul(weight.kernel_weight(), x.data(), shape.cols, tokens, y.data(),
                       weight.panels() * kPanelRows, 0, weight.panels());
    benchmark::ClobberMemory();
  }
  report(state, double(shape.rows * shape.cols), double(weight.bytes()), double(tokens));
}

void bench_quantize_row(benchmark::State& state, const KernelTable& table) {
  Random random(1);
  const auto x = random_floats(576, random);
  for (auto _ : state) benchmark::DoNotOptimize(QuantizedInput(table, x, 1, 576).codes.data());
}

void bench_softmax(benchmark::State& state, const KernelTable& table) {
  Random random(1);
  auto x = random_floats(512, random);
  for (auto _ : state) {
    table.softmax(x.data(), 512, 0.125f);
    benchmark::ClobberMemory();
  }
}

void register_matmul(const MatmulCase& c) {
  const auto name = fmt::format("matmul/{}/{}/{}/tokens:{}/{}", c.table->isa, c.scheme, c.shape.name,
                                c.tokens, c.stream ? "stream" : "cached");
  benchmark::RegisterBenchmark(name.c_str(), [c](benchmark::State& state) {
    bench_matmul(state, c);
  })->ThreadRange(1, 2);
}

void register_matmuls(const KernelTable& table) {
  const auto add = [&](const char* scheme, const MatrixShape& shape) {
    for (const int64_t tokens : {1, 2, 4, 8}) register_matmul({&table, scheme, shape, tokens, true});
    for (const int64_t tokens : {1, 16, 128, 512}) register_matmul({&table, scheme, shape, tokens, false});
  };
  for (const char* scheme : {"int4-g64-sym", "int8-g32-sym"})
    for (const MatrixShape& shape : kShapes) add(scheme, shape);
  for (const char* scheme : {"iq4nl-g32", "iq4nl-g32-s8", "int4-g32-sym", "int4-g32-s8", "int4-g32-offset",
                             "int3-g64-sym", "int6-g64-asym"})
    add(scheme, kShapes[1]);
}

void register_float(const KernelTable& table) {
  for (const DType type : {DType::f32, DType::f16, DType::bf16})
    for (const int64_t tokens : {1, 4, 12, 512})
      benchmark::RegisterBenchmark(
          fmt::format("float_matmul/{}/{}/up/tokens:{}", table.isa, dtype_name(type), tokens).c_str(),
          [&table, type, tokens](benchmark::State& state) {
            bench_float_matmul(state, table, type, kShapes[1], tokens);
          });
}

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown";
}

}  // namespace
}  // namespace edgeq

int main(int argc, char** argv) {
  using namespace edgeq;
  benchmark::AddCustomContext("cpu", cpu_name());
  benchmark::AddCustomContext("best isa", runnable_kernels().front()->isa);
  benchmark::AddCustomContext("compiler", EDGEQ_COMPILER);
  benchmark::AddCustomContext("build type", EDGEQ_BUILD_TYPE);
  register_limits();
  for (const KernelTable* table : runnable_kernels()) {
    register_matmuls(*table);
    register_float(*table);
    benchmark::RegisterBenchmark(fmt::format("quantize_row/{}/576", table->isa).c_str(),
                                 [table](benchmark::State& state) { bench_quantize_row(state, *table); });
    benchmark::RegisterBenchmark(fmt::format("softmax/{}/512", table->isa).c_str(),
                                 [table](benchmark::State& state) { bench_softmax(state, *table); });
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
