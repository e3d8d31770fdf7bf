// SPDX-License-Identifier: Apache-2.0
// A small seeded generator whose stream is the same on every platform, unlike the standard distributions.
// SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <span>

namespace edgeq {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // Uniform in [0, 1), 53 bits.
  double uniform() { return double(next() >> 11) * 0x1p-53; }
  // Uniform in [0, bound); the bias is below bound / 2^64.
  uint64_t below(uint64_t bound) { return uint64_t((static_cast<unsigned __int128>(next()) * bound) >> 64); }
  // Standard normal (Box-Muller; one of the pair is dropped for simplicity).
  double normal() {
    const double radius = std::sqrt(-2 * std::log(1 - uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }

 private:
  uint64_t state_;
};

// Normal numbers of mean 0 and this deviation.
inline void fill_normal(std::span<float> out, double deviation, Random& random) {
  for (float& x : out) x = float(deviation * random.normal());
}

// The seed of stream number `stream` of a seed: what is drawn for an item depends on neither order nor number
// of the others.
inline uint64_t stream_seed(uint64_t seed, uint64_t stream) {
  return Random(Random(seed).next() ^ stream).next();
}

}  // namespace edgeq
