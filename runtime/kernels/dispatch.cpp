// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "core/error.h"
#include "runtime/kernels/cpu_features.h"
#include "runtime/kernels/kernel_table.h"

namespace edgeq {

// Declared here and not in a header: an ISA file includes nothing that common code includes.
namespace isa {
#if defined(__x86_64__)
namespace amx {
extern const KernelTable kTable;
}
namespace avx512vnni {
extern const KernelTable kTable;
}
namespace avx2 {
extern const KernelTable kTable;
}
#elif defined(__aarch64__)
namespace neondot {
extern const KernelTable kTable;
}
#endif
namespace scalar {
extern const KernelTable kTable;
}
}  // namespace isa

namespace {

// Best first.
constexpr const KernelTable* kTables[] = {
#if defined(__x86_64__)
    &isa::amx::kTable, &isa::avx512vnni::kTable, &isa::avx2::kTable,
#elif defined(__aarch64__)
    &isa::neondot::kTable,
#endif
    &isa::scalar::kTable};

// amx has a matmul and its peak: everything else is avx512vnni's.
KernelTable completed(const KernelTable& table, const KernelTable& next) {
  KernelTable whole = next;
  whole.isa = table.isa;
  whole.required_features = table.required_features;
  whole.matmul = table.matmul;
  whole.int8_peak = table.int8_peak;
  return whole;
}

std::vector<const KernelTable*> find_runnable() {
  const uint32_t features = cpu_features();
  std::vector<const KernelTable*> tables;
  for (const KernelTable* table : kTables)
    if ((table->required_features & ~features) == 0) tables.push_back(table);
  if (tables.front()->float_matmul == nullptr) {
    static const KernelTable whole = completed(*tables[0], *tables[1]);
    tables.front() = &whole;
  }
  return tables;
}

std::string names(std::span<const KernelTable* const> tables) {
  std::vector<std::string_view> list;
  for (const KernelTable* table : tables) list.push_back(table->isa);
  return fmt::format("{}", fmt::join(list, ", "));
}

}  // namespace

std::span<const KernelTable* const> runnable_kernels() {
  static const std::vector<const KernelTable*> tables = find_runnable();
  return tables;
}

const KernelTable& choose_kernels(std::string_view name) {
  const auto runnable = runnable_kernels();
  if (name.empty()) return *runnable.front();
  const auto is_named = [name](const KernelTable* table) { return table->isa == name; };
  if (const auto found = std::ranges::find_if(runnable, is_named); found != runnable.end()) return **found;
  const bool known = std::ranges::any_of(kTables, is_named);
  throw Error(fmt::format("EDGEQ_ISA is \"{}\", which {}, expected one of {}", name,
                          known ? "this CPU cannot run" : "this build does not know", names(runnable)));
}

const KernelTable& kernels() {
  static const KernelTable& chosen = []() -> const KernelTable& {
    const char* isa = std::getenv("EDGEQ_ISA");
    return choose_kernels(isa == nullptr ? "" : isa);
  }();
  return chosen;
}

}  // namespace edgeq
