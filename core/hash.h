// SPDX-License-Identifier: Apache-2.0
// Content hashes for cache keys, checksums and provenance: XXH3-128 (xxHash), not cryptographic. They detect
// damage and mistakes, not an adversary.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace edgeq {

// 32 hexadecimal digits.
std::string content_hash(std::span<const std::byte> bytes);
std::string content_hash(std::string_view text);

// The same hash over pieces that arrive one after another.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;
  Hasher& add(std::span<const std::byte> bytes);
  Hasher& add(std::string_view text);
  std::string digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace edgeq
