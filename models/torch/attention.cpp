// SPDX-License-Identifier: Apache-2.0
#include "models/torch/attention.h"

#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "core/parallel.h"

namespace edgeq {
namespace {

// Queries that are scored together. Bounds the memory of the scores and skips most of the masked half.
constexpr int64_t kTileTokens = 128;
// Multiply-adds below which one thread is enough: some 0.1 ms of a matrix product.
constexpr int64_t kParallelWork = int64_t(1) << 22;

// A range of queries and of the keys that any of them sees.
struct Tile {
  int64_t first_query = 0, queries = 0;
  int64_t first_key = 0, keys = 0;
  at::Tensor mask{};  // [queries, keys]: 0 or -infinity; undefined when every query sees every key
};

// `past`: tokens before the first query of the sequence's last feed.
at::Tensor tile_mask(const Tile& tile, int64_t past, int64_t window) {
  at::Tensor mask = at::zeros({tile.queries, tile.keys}, at::kFloat);
  auto cell = mask.accessor<float, 2>();
  for (int64_t q = 0; q < tile.queries; ++q) {
    const int64_t position = past + tile.first_query + q;
    for (int64_t k = 0; k < tile.keys; ++k) {
      const int64_t key = tile.first_key + k;
      if (key > position || (window > 0 && key <= position - window))
        cell[q][k] = -std::numeric_limits<float>::infinity();
    }
  }
  return mask;
}

std::vector<Tile> cut_tiles(int64_t queries, int64_t past, int64_t window) {
  std::vector<Tile> tiles;
  for (int64_t first = 0; first < queries; first += kTileTokens) {
    Tile tile{.first_query = first, .queries = std::min(kTileTokens, queries - first)};
    tile.first_key = window > 0 ? std::max<int64_t>(0, past + first - window + 1) : 0;
    tile.keys = past + first + tile.queries - tile.first_key;
    if (tile.queries > 1) tile.mask = tile_mask(tile, past, window);
    tiles.push_back(std::move(tile));
  }
  return tiles;
}

// q [queries, group, head_dim], already scaled, of the heads that share one key/value head. Returns the same
// shape.
at::Tensor attend_tile(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values,
                       const at::Tensor& mask, double cap) {
  const int64_t queries = q.size(0), group = q.size(1), dim = q.size(2);
  const at::Tensor flat = q.transpose(0, 1).reshape({group * queries, dim});
  at::Tensor scores = at::mm(flat, keys.t()).view({group, queries, keys.size(0)});
  if (cap != 0) scores = soft_cap(scores, cap);
  if (mask.defined()) scores = scores + mask;
  const at::Tensor weights = at::softmax(scores, -1).view({group * queries, keys.size(0)});
  return at::mm(weights, values).view({group, queries, dim}).transpose(0, 1);
}

}  // namespace

void for_each_slice(int64_t count, int64_t multiply_adds, const std::function<void(int64_t)>& body) {
  if (c10::GradMode::is_enabled() || multiply_adds < kParallelWork) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  parallel_for(count, [&](int64_t i) {
    const c10::InferenceMode guard;  // the mode belongs to a thread
    body(i);
  });
}

Rotary::Rotary(Rope rope) : rope_(std::move(rope)), frequencies_(size_t(rope_.dims / 2)) {
  for (size_t i = 0; i < frequencies_.size(); ++i) {
    frequencies_[i] = std::pow(rope_.theta, -2.0 * double(i) / double(rope_.dims));
    if (!rope_.divisors.empty()) frequencies_[i] /= double(rope_.divisors[i]);
  }
}

Rotary::Table Rotary::table(int64_t positions) const {
  const std::lock_guard lock(mutex_);
  if (table_.cos.defined() && table_.cos.size(0) >= positions) return table_;
  // Ordinary tensors whatever the caller's mode: inference tensors could not be used by autograd later.
  const c10::InferenceMode off(false);
  const auto rows = int64_t(std::bit_ceil(uint64_t(std::max<int64_t>(positions, 512))));
  const auto half = int64_t(frequencies_.size());
  Table grown{at::empty({rows, 1, half}, at::kFloat), at::empty({rows, 1, half}, at::kFloat)};
  float* cos = grown.cos.data_ptr<float>();
  float* sin = grown.sin.data_ptr<float>();
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = double(t) * frequencies_[size_t(i)];
      cos[t * half + i] = float(rope_.scale * std::cos(angle));
      sin[t * half + i] = float(rope_.scale * std::sin(angle));
    }
  }
  return table_ = std::move(grown);
}

at::Tensor Rotary::rotate(const at::Tensor& x, int64_t first) const {
  if (rope_.dims == 0) return x;
  const int64_t tokens = x.size(0), half = rope_.dims / 2;
  const Table angles = table(first + tokens);
  const at::Tensor cos = angles.cos.narrow(0, first, tokens), sin = angles.sin.narrow(0, first, tokens);
  const at::Tensor low = x.narrow(2, 0, half), high = x.narrow(2, half, half);
  const at::Tensor rest = x.narrow(2, rope_.dims, x.size(2) - rope_.dims);
  return at::cat({low * cos - high * sin, high * cos + low * sin, rest}, 2);
}

at::Tensor soft_cap(const at::Tensor& x, double cap) { return at::tanh(x / cap) * cap; }

at::Tensor attend(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values,
                  const ScoreOptions& options) {
  const int64_t tokens = q.size(0), heads = q.size(1), dim = q.size(2);
  const int64_t kv_heads = keys.size(0), group = heads / kv_heads;
  const at::Tensor scaled = q * options.scale;
  const std::vector<Tile> tiles = cut_tiles(tokens, keys.size(1) - tokens, options.window);

  std::vector<std::vector<at::Tensor>> parts(tiles.size(), std::vector<at::Tensor>(size_t(kv_heads)));
  const int64_t multiply_adds = 2 * tokens * heads * dim * keys.size(1);
  for_each_slice(int64_t(tiles.size()) * kv_heads, multiply_adds, [&](int64_t i) {
    const auto t = size_t(i / kv_heads);
    const int64_t head = i % kv_heads;
    const Tile& tile = tiles[t];
    parts[t][size_t(head)] =
        attend_tile(scaled.narrow(0, tile.first_query, tile.queries).narrow(1, head * group, group),
                    keys.select(0, head).narrow(0, tile.first_key, tile.keys),
                    values.select(0, head).narrow(0, tile.first_key, tile.keys), tile.mask, options.soft_cap);
  });
  std::vector<at::Tensor> rows;
  for (const auto& tile : parts) rows.push_back(at::cat(tile, 1));
  return at::cat(rows, 0).view({tokens, heads * dim});
}

}  // namespace edgeq
