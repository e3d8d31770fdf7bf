// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/error.h"
#include "runtime/kernels/cpu_features.h"
#include "runtime/kernels/kernel_table.h"

namespace edgeq {
namespace {

using testing::HasSubstr;

std::string error_of(std::string_view isa) {
  try {
    choose_kernels(isa);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Dispatch, ScalarRunsEverywhereAndIsTheLastResort) {
  ASSERT_FALSE(runnable_kernels().empty());
  EXPECT_STREQ(runnable_kernels().back()->isa, "scalar");
}

TEST(Dispatch, EveryRunnableTableIsComplete) {
  for (const KernelTable* table : runnable_kernels()) {
    EXPECT_TRUE(table->matmul && table->float_matmul && table->decode_panel && table->quantize_row &&
                table->rms_norm && table->layer_norm && table->silu_mul && table->gelu_tanh &&
                table->gelu_erf && table->soft_cap && table->softmax && table->rope && table->int8_peak)
        << table->isa;
    EXPECT_EQ(table->required_features & ~cpu_features(), 0u) << table->isa;
  }
}

TEST(Dispatch, PrefersTheBestTable) { EXPECT_EQ(&choose_kernels(""), runnable_kernels().front()); }

TEST(Dispatch, AForcedIsaIsTheOneThatRuns) {
  for (const KernelTable* table : runnable_kernels()) EXPECT_EQ(&choose_kernels(table->isa), table);
  // kernels() reads the variable at its first call, so the suite as a whole is run once per ISA.
  const char* forced = std::getenv("EDGEQ_ISA");
  EXPECT_STREQ(kernels().isa, forced == nullptr ? runnable_kernels().front()->isa : forced);
}

TEST(Dispatch, AnUnknownIsaIsAnErrorThatListsTheRunnable) {
  const std::string text = error_of("sse9");
  EXPECT_THAT(text, HasSubstr("\"sse9\", which this build does not know"));
  for (const KernelTable* table : runnable_kernels()) EXPECT_THAT(text, HasSubstr(table->isa));
}

TEST(Dispatch, AnIsaThisCpuCannotRunIsAnError) {
#if defined(__aarch64__)
  const std::vector<std::string> built = {"neondot"};
#else
  const std::vector<std::string> built = {"avx2", "avx512vnni", "amx"};
#endif
  for (const auto& name : built) {
    const bool runs =
        std::ranges::any_of(runnable_kernels(), [&](auto* table) { return table->isa == name; });
    EXPECT_EQ(error_of(name).find(name + "\", which this CPU cannot run") != std::string::npos, !runs)
        << name;
  }
}

// Run under emulation of a CPU without dot products as well (CMakeLists.txt).
TEST(Dispatch, WithoutAnyFeatureOnlyScalarRuns) {
  if (cpu_features() != 0) GTEST_SKIP() << "this CPU has vector kernels";
  EXPECT_EQ(runnable_kernels().size(), 1u);
  EXPECT_STREQ(kernels().isa, "scalar");
}

}  // namespace
}  // namespace edgeq
