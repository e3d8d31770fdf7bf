// SPDX-License-Identifier: Apache-2.0
#include "runtime/kernels/cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace edgeq {

#if defined(__x86_64__)

namespace {

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf) {
  Registers r;
  __get_cpuid_count(leaf, 0, &r.eax, &r.ebx, &r.ecx, &r.edx);  // zeros when the CPU has no such leaf
  return r;
}

// The register state that the operating system saves (XCR0).
uint32_t saved_state() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

constexpr bool has(uint32_t flags, uint32_t wanted) { return (flags & wanted) == wanted; }

// Tiles are 8 KiB of state that Linux saves for a process only after it has asked (ARCH_REQ_XCOMP_PERM,
// XFEATURE_XTILEDATA).
bool ask_for_tiles() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
  return false;
#endif
}

}  // namespace

uint32_t cpu_features() {
  const Registers basic = cpuid(1), extended = cpuid(7);
  constexpr uint32_t kFma = 1u << 12, kOsXsave = 1u << 27, kAvx = 1u << 28, kF16c = 1u << 29;  // leaf 1, ecx
  if (!has(basic.ecx, kFma | kOsXsave | kAvx | kF16c)) return 0;
  constexpr uint32_t kYmmState = 0x6, kZmmState = 0xe6;
  const uint32_t state = saved_state();
  uint32_t features = 0;
  if (has(state, kYmmState) && has(extended.ebx, 1u << 5)) features |= kAvx2;
  constexpr uint32_t kF = 1u << 16, kDq = 1u << 17, kBw = 1u << 30, kVl = 1u << 31;  // leaf 7, ebx
  constexpr uint32_t kVnni = 1u << 11;                                               // leaf 7, ecx
  if ((features & kAvx2) != 0 && has(state, kZmmState) && has(extended.ebx, kF | kDq | kBw | kVl) &&
      has(extended.ecx, kVnni))
    features |= kAvx512Vnni;
  constexpr uint32_t kTileState = 0x60000, kTiles = 3u << 24;  // leaf 7, edx: AMX-TILE, AMX-INT8
  if ((features & kAvx512Vnni) != 0 && has(state, kTileState) && has(extended.edx, kTiles) && ask_for_tiles())
    features |= kAmxInt8;
  return features;
}

#elif defined(__aarch64__) && defined(__linux__)

uint32_t cpu_features() { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0 ? uint32_t(kNeonDot) : 0; }

#else

uint32_t cpu_features() { return 0; }

#endif

}  // namespace edgeq
