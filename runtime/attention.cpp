// SPDX-License-Identifier: Apache-2.0
#include "runtime/attention.h"

#include <algorithm>

#include "formats/panels.h"

namespace edgeq {

int64_t Attention::window_start(int64_t position) const {
  return in_.shape.window == 0 ? 0 : std::max<int64_t>(0, position - in_.shape.window + 1);
}

int64_t Attention::window_origin(int64_t position) const {
  return window_start(position) / kPanelRows * kPanelRows;
}

void Attention::weigh(float* scores, int64_t count) const noexcept {
  if (in_.soft_cap == 0) {
    in_.kernels.softmax(scores, count, in_.scale);
    return;
  }
  in_.kernels.soft_cap(scores, count, in_.scale / in_.soft_cap, in_.soft_cap);
  in_.kernels.softmax(scores, count, 1.0f);
}

void Attention::store_token(int64_t token, int64_t kv_head) noexcept {
  const int64_t head_dim = in_.shape.head_dim, position = in_.first + token;
  float* key = own_.key.data();
  std::copy_n(space_.k.row(token) + kv_head * head_dim, head_dim, key);
  if (!in_.k_norm.empty()) in_.kernels.rms_norm(key, in_.k_norm.data(), head_dim, in_.epsilon, key);
  in_.kernels.rope(key, in_.rope.cosine(position), in_.rope.sine(position), in_.rope.half());
  cache_.write(in_.layer, kv_head, position, key, space_.v.row(token) + kv_head * head_dim);
}

void Attention::load_queries(int64_t token, int64_t kv_head, float* out) noexcept {
  const int64_t head_dim = in_.shape.head_dim, position = in_.first + token;
  std::copy_n(space_.q.row(token) + kv_head * group() * head_dim, group() * head_dim, out);
  for (float* query = out; query < out + group() * head_dim; query += head_dim) {
    if (!in_.q_norm.empty()) in_.kernels.rms_norm(query, in_.q_norm.data(), head_dim, in_.epsilon, query);
    in_.kernels.rope(query, in_.rope.cosine(position), in_.rope.sine(position), in_.rope.half());
  }
}

void Attention::write_attended(int64_t token, int64_t kv_head, const float* mixed, int64_t begin,
                               int64_t end) noexcept {
  const int64_t head_dim = in_.shape.head_dim;
  float* out = space_.attended.row(token) + kv_head * group() * head_dim;
  end = std::min(end, head_dim);
  for (int64_t h = 0; h < group(); ++h)
    std::copy(mixed + h * head_stride() + begin, mixed + h * head_stride() + end, out + h * head_dim + begin);
}

void Attention::store() noexcept {
  const int64_t begin = in_.tokens * thread_ / threads_, end = in_.tokens * (thread_ + 1) / threads_;
  for (int64_t token = begin; token < end; ++token)
    for (int64_t head = 0; head < in_.shape.kv_heads; ++head) store_token(token, head);
}

void Attention::attend() noexcept {
  const int64_t positions = round_up(in_.first + in_.tokens, kPanelRows);
  const int64_t tile =
      std::clamp<int64_t>(ThreadSpace::kScoreFloats / (positions * group()), 1, ThreadSpace::kTileTokens);
  const int64_t units = (in_.tokens + tile - 1) / tile * in_.shape.kv_heads;
  for (int64_t unit = thread_; unit < units; unit += threads_) {
    const int64_t begin = unit / in_.shape.kv_heads * tile;
    attend_tile(begin, std::min(begin + tile, in_.tokens), unit % in_.shape.kv_heads);
  }
}

void Attention::attend_tile(int64_t token_begin, int64_t token_end, int64_t kv_head) noexcept {
  const int64_t head_dim = in_.shape.head_dim, queries = (token_end - token_begin) * group();
  const int64_t start = window_start(in_.first + token_begin), end = in_.first + token_end;
  const int64_t origin = window_origin(in_.first + token_begin);
  const int64_t stride = round_up(end - origin, kPanelRows);

  for (int64_t t = token_begin; t < token_end; ++t)
    load_queries(t, kv_head, own_.queries.data() + (t - token_begin) * group() * head_dim);
  float* scores = own_.scores.data();
  in_.kernels.float_matmul(cache_.keys(in_.layer, kv_head, origin), own_.queries.data(), head_dim, queries,
                           scores, stride, 0, stride / kPanelRows);

  for (int64_t i = 0; i < queries; ++i) {
    const int64_t position = in_.first + token_begin + i / group();
    const int64_t seen_begin = window_start(position) - origin, seen_end = position + 1 - origin;
    float* row = scores + i * stride;
    weigh(row + seen_begin, seen_end - seen_begin);
    std::fill(row + (start - origin), row + seen_begin, 0.0f);
    std::fill(row + seen_end, row + (end - origin), 0.0f);
  }

  float* mixed = own_.mixed.data();
  in_.kernels.float_matmul(cache_.values(in_.layer, kv_head, start, end - start), scores + (start - origin),
                           stride, queries, mixed, head_stride(), 0, head_stride() / kPanelRows);
  for (int64_t t = token_begin; t < token_end; ++t)
    write_attended(t, kv_head, mixed + (t - token_begin) * group() * head_stride(), 0, head_dim);
}

void Attention::score() noexcept {
  const int64_t position = in_.first, origin = window_origin(position);
  const int64_t panels = (position - origin) / kPanelRows + 1, total = panels * in_.shape.kv_heads;
  const int64_t share_begin = total * thread_ / threads_, share_end = total * (thread_ + 1) / threads_;
  for (int64_t head = share_begin / panels; head * panels < share_end; ++head) {
    const int64_t begin = std::max<int64_t>(share_begin - head * panels, 0);
    const int64_t end = std::min(share_end - head * panels, panels);
    if (end == panels) store_token(0, head);  // this thread alone reads the panel of the new position
    load_queries(0, head, own_.queries.data());
    in_.kernels.float_matmul(cache_.keys(in_.layer, head, origin), own_.queries.data(), in_.shape.head_dim,
                             group(), space_.scores.row(head * group()), space_.scores.stride, begin, end);
  }
}

void Attention::mix() noexcept {
  const int64_t position = in_.first, start = window_start(position), count = position + 1 - start;
  const int64_t origin = window_origin(position);
  const int64_t panels = head_stride() / kPanelRows, total = panels * in_.shape.kv_heads;
  const int64_t share_begin = total * thread_ / threads_, share_end = total * (thread_ + 1) / threads_;
  float* weights = own_.scores.data();
  for (int64_t head = share_begin / panels; head * panels < share_end; ++head) {
    for (int64_t h = 0; h < group(); ++h) {
      std::copy_n(space_.scores.row(head * group() + h) + (start - origin), count, weights + h * count);
      weigh(weights + h * count, count);
    }
    const int64_t begin = std::max<int64_t>(share_begin - head * panels, 0);
    const int64_t end = std::min(share_end - head * panels, panels);
    in_.kernels.float_matmul(cache_.values(in_.layer, head, start, count), weights, count, group(),
                             own_.mixed.data(), head_stride(), begin, end);
    write_attended(0, head, own_.mixed.data(), begin * kPanelRows, end * kPanelRows);
  }
}

}  // namespace edgeq
