// SPDX-License-Identifier: Apache-2.0
#include "runtime/kv_pool.h"

#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "core/error.h"

namespace edgeq {
namespace {

// 0 at the back, so that it is taken first.
std::vector<int32_t> descending(int64_t count) {
  std::vector<int32_t> numbers;
  for (int64_t i = count; i > 0; --i) numbers.push_back(int32_t(i - 1));
  return numbers;
}

int64_t checked_pages(int64_t pages) {
  if (pages < 0 || pages > INT32_MAX)
    throw Error(fmt::format("a KV pool of {} pages; expected 0 to {}", pages, INT32_MAX));
  return pages;
}

}  // namespace

KvPool::KvPool(KvLayout layout, int64_t pages, int64_t sequences)
    : layout_(std::move(layout)),
      sequences_(sequences),
      owners_(size_t(checked_pages(pages)), 0),
      free_(descending(pages)),
      free_sets_(descending(sequences)),
      memory_(pages * layout_.page_bytes),
      open_memory_(sequences * kOpenPages * layout_.open_page_bytes) {}

int64_t KvPool::bytes() const {
  return pages() * layout_.page_bytes + sequences_ * kOpenPages * layout_.open_page_bytes;
}

int32_t KvPool::take() noexcept {
  const int32_t page = free_.back();
  free_.pop_back();
  owners_[size_t(page)] = 1;
  return page;
}

void KvPool::release(int32_t page) noexcept {
  if (--owners_[size_t(page)] == 0) free_.push_back(page);
}

void KvPool::copy(int32_t from, int32_t to) noexcept {
  each_piece([&](int64_t at, int64_t bytes) {
    std::memcpy(piece(to, at, bytes), piece(from, at, bytes), size_t(bytes));
  });
}

int32_t KvPool::take_open_set() {
  if (free_sets_.empty())
    throw Error(
        fmt::format("a KV pool for {} sequences has all of them; expected one to end first", sequences_));
  const int32_t set = free_sets_.back();
  free_sets_.pop_back();
  return set;
}

}  // namespace edgeq
