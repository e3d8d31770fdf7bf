// SPDX-License-Identifier: Apache-2.0
// Zeroed memory on a 64-byte boundary, for the runtime's caches and workspaces. The system hands the zero
// pages out when they are first touched, so room that a sequence never reaches costs address space only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace edgeq {

template <class T>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(int64_t count) : memory_(allocate(count)) {
    void* begin = memory_.get();
    size_t room = size_t(count) * sizeof(T) + kAlignment;
    data_ = static_cast<T*>(std::align(kAlignment, size_t(count) * sizeof(T), begin, room));
  }

  T* data() noexcept { return data_; }
  const T* data() const noexcept { return data_; }

 private:
  static constexpr size_t kAlignment = 64;
  struct Free {
    void operator()(void* memory) const noexcept { std::free(memory); }
  };
  static void* allocate(int64_t count) {
    void* memory = count < 0 || size_t(count) > (SIZE_MAX - kAlignment) / sizeof(T)
                       ? nullptr
                       : std::calloc(size_t(count) * sizeof(T) + kAlignment, 1);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
  }

  std::unique_ptr<void, Free> memory_;
  T* data_ = nullptr;
};

// The next multiple of `unit` at or above `value`.
constexpr int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace edgeq
