// SPDX-License-Identifier: Apache-2.0
#include "tests/support/allocations.h"

#include <atomic>
#include <cstddef>

namespace {
std::atomic<int64_t> count{0};
}  // namespace

// Names that are not ours to choose. NOLINTBEGIN(readability-identifier-naming,bugprone-reserved-identifier)
#if defined(__SANITIZE_ADDRESS__)
// As sanitizer/allocator_interface.h has it, which GCC's package on Debian leaves out.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*allocated)(const volatile void*, size_t),
                                                         void (*freed)(const volatile void*));

namespace {
void count_one(const volatile void*, size_t) { ++count; }
void ignore(const volatile void*) {}
const int installed = __sanitizer_install_malloc_and_free_hooks(count_one, ignore);
}  // namespace
#else
// glibc's allocator under the names by which it is called.
extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t number, size_t size);
void* __libc_realloc(void* memory, size_t size);

void* malloc(size_t size) {
  ++count;
  return __libc_malloc(size);
}
void* calloc(size_t number, size_t size) {
  ++count;
  return __libc_calloc(number, size);
}
void* realloc(void* memory, size_t size) {
  ++count;
  return __libc_realloc(memory, size);
}
}
#endif
// NOLINTEND(readability-identifier-naming,bugprone-reserved-identifier)

namespace edgeq {

int64_t allocations() { return count; }

}  // namespace edgeq
