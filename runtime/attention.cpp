// SPDX-License-Identifier: Apache-2.0
#include "runtime/attention.h"

#include <algorithm>

#include "formats/panels.h"

namespace edgeq {
namespace {

constexpr int64_t kPagePanels = KvCache::kPage / kPanelRows;

}  // namespace

int64_t Attention::window_start(int64_t position) const {
  return in_.shape.window == 0 ? 0 : std::max<int64_t>(0, position - in_.shape.window + 1);
}

int64_t Attention::window_origin(int64_t position) const {
  return window_start(position) / KvCache::kPage * KvCache::kPage;
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
  std::copy_n(space_.k.row(in_.row + token) + kv_head * head_dim, head_dim, key);
  if (!in_.k_norm.empty()) in_.kernels.rms_norm(key, in_.k_norm.data(), head_dim, in_.epsilon, key);
  in_.kernels.rope(key, in_.rope.cosine(position), in_.rope.sine(position), in_.rope.half());
  cache_.write(in_.layer, kv_head, position, key, space_.v.row(in_.row + token) + kv_head * head_dim);
}

void Attention::load_queries(int64_t token, int64_t kv_head, float* out) noexcept {
  const int64_t head_dim = in_.shape.head_dim, position = in_.first + token;
  std::copy_n(space_.q.row(in_.row + token) + kv_head * group() * head_dim, group() * head_dim, out);
  for (float* query = out; query < out + group() * head_dim; query += head_dim) {
    if (!in_.q_norm.empty()) in_.kernels.rms_norm(query, in_.q_norm.data(), head_dim, in_.epsilon, query);
    in_.kernels.rope(query, in_.rope.cosine(position), in_.rope.sine(position), in_.rope.half());
  }
}

void Attention::write_attended(int64_t token, int64_t kv_head, const float* mixed, int64_t begin,
                               int64_t end) noexcept {
  const int64_t head_dim = in_.shape.head_dim;
  float* out = space_.attended.row(in_.row + token) + kv_head * group() * head_dim;
  end = std::min(end, head_dim);
  for (int64_t h = 0; h < group(); ++h)
    std::copy(mixed + h * head_stride() + begin, mixed + h * head_stride() + end, out + h * head_dim + begin);
}

void Attention::store() noexcept {
  for (int64_t token = 0; token < in_.tokens; ++token)
    if ((in_.row + token) % threads_ == thread_)
      for (int64_t head = 0; head < in_.shape.kv_heads; ++head) store_token(token, head);
}

bool Attention::encode() noexcept {
  if (!cache_.has_codes()) return false;
  const int64_t begin = in_.first / KvCache::kPage, end = (in_.first + in_.tokens) / KvCache::kPage;
  for (int64_t unit = thread_; unit < (end - begin) * in_.shape.kv_heads; unit += threads_)
    cache_.encode({in_.layer, unit % in_.shape.kv_heads, begin + unit / in_.shape.kv_heads});
  return begin < end;
}

void Attention::score_panels(int64_t kv_head, int64_t own_page, int64_t queries, PanelRange panels,
                             int64_t origin, float* scores, int64_t stride) noexcept {
  for (int64_t begin = panels.begin; begin < panels.end;) {
    const int64_t page = begin / kPagePanels, first = page * kPagePanels;
    const PanelRange range{begin - first, std::min(panels.end - first, kPagePanels)};
    const KernelFloatWeight keys = cache_.keys(in_.kernels, {in_.layer, kv_head, page}, seen(page, own_page),
                                               range, own_.decoded.data());
    in_.kernels.float_matmul(keys, own_.queries.data(), in_.shape.head_dim, queries,
                             scores + (page * KvCache::kPage - origin), stride, range.begin, range.end);
    begin = first + range.end;
  }
}

void Attention::mix_panels(int64_t kv_head, int64_t own_page, int64_t queries, int64_t start, int64_t end,
                           const float* weights, int64_t stride, PanelRange dims) noexcept {
  float *mixed = own_.mixed.data(), *of_page = own_.mixed_page.data();
  std::fill_n(mixed, queries * head_stride(), 0.0f);
  for (int64_t page = start / KvCache::kPage; page * KvCache::kPage < end; ++page) {
    KernelFloatWeight values = cache_.values(in_.kernels, {in_.layer, kv_head, page}, seen(page, own_page),
                                             dims, own_.decoded.data());
    values.cols = std::min(KvCache::kPage, end - page * KvCache::kPage);
    in_.kernels.float_matmul(values, weights + (page - start / KvCache::kPage) * KvCache::kPage, stride,
                             queries, of_page, head_stride(), dims.begin, dims.end);
    for (int64_t q = 0; q < queries; ++q)
      for (int64_t d = dims.begin * kPanelRows; d < dims.end * kPanelRows; ++d)
        mixed[q * head_stride() + d] += of_page[q * head_stride() + d];
  }
}

void Attention::attend(int64_t& unit) noexcept {
  const int64_t positions = round_up(in_.first + in_.tokens, KvCache::kPage);
  const int64_t tile =
      std::clamp<int64_t>(ThreadSpace::kScoreFloats / (positions * group()), 1, ThreadSpace::kTileTokens);
  for (int64_t begin = 0, end = 0; begin < in_.tokens; begin = end) {
    // Tokens of a tile share their own page.
    const int64_t page_end = round_up(in_.first + begin + 1, KvCache::kPage) - in_.first;
    end = std::min({begin + tile, page_end, in_.tokens});
    for (int64_t head = 0; head < in_.shape.kv_heads; ++head)
      if (unit++ % threads_ == thread_) attend_tile(begin, end, head);
  }
}

void Attention::attend_tile(int64_t token_begin, int64_t token_end, int64_t kv_head) noexcept {
  const int64_t head_dim = in_.shape.head_dim, queries = (token_end - token_begin) * group();
  const int64_t first = in_.first + token_begin, end = in_.first + token_end,
                own_page = first / KvCache::kPage;
  const int64_t start = window_start(first), origin = window_origin(first);
  const int64_t stride = round_up(end - origin, kPanelRows);

  for (int64_t t = token_begin; t < token_end; ++t)
    load_queries(t, kv_head, own_.queries.data() + (t - token_begin) * group() * head_dim);
  float* scores = own_.scores.data();
  score_panels(kv_head, own_page, queries, {start / kPanelRows, (origin + stride) / kPanelRows}, origin,
               scores, stride);

  for (int64_t i = 0; i < queries; ++i) {
    const int64_t position = first + i / group();
    const int64_t seen_begin = window_start(position) - origin, seen_end = position + 1 - origin;
    float* row = scores + i * stride;
    weigh(row + seen_begin, seen_end - seen_begin);
    std::fill(row, row + seen_begin, 0.0f);
    std::fill(row + seen_end, row + (end - origin), 0.0f);
  }

  mix_panels(kv_head, own_page, queries, start, end, scores, stride, {0, head_stride() / kPanelRows});
  for (int64_t t = token_begin; t < token_end; ++t)
    write_attended(t, kv_head, own_.mixed.data() + (t - token_begin) * group() * head_stride(), 0, head_dim);
}

void Attention::score() noexcept {
  const int64_t position = in_.first, origin = window_origin(position);
  const int64_t first = window_start(position) / kPanelRows, panels = position / kPanelRows + 1 - first;
  const int64_t total = panels * in_.shape.kv_heads;
  const int64_t share_begin = total * thread_ / threads_, share_end = total * (thread_ + 1) / threads_;
  for (int64_t head = share_begin / panels; head * panels < share_end; ++head) {
    const int64_t begin = std::max<int64_t>(share_begin - head * panels, 0);
    const int64_t end = std::min(share_end - head * panels, panels);
    if (end == panels) store_token(0, head);  // this thread alone reads the panel of the new position
    load_queries(0, head, own_.queries.data());
    score_panels(head, position / KvCache::kPage, group(), {first + begin, first + end}, origin,
                 space_.scores.row(head * group()), space_.scores.stride);
  }
}

void Attention::mix() noexcept {
  const int64_t position = in_.first, start = window_start(position), origin = window_origin(position);
  const int64_t stride = position + 1 - origin;
  const int64_t panels = head_stride() / kPanelRows, total = panels * in_.shape.kv_heads;
  const int64_t share_begin = total * thread_ / threads_, share_end = total * (thread_ + 1) / threads_;
  float* weights = own_.scores.data();
  for (int64_t head = share_begin / panels; head * panels < share_end; ++head) {
    for (int64_t h = 0; h < group(); ++h) {
      float* row = weights + h * stride;
      std::copy_n(space_.scores.row(head * group() + h), stride, row);
      weigh(row + (start - origin), position + 1 - start);
      std::fill(row, row + (start - origin), 0.0f);
    }
    const PanelRange dims{std::max<int64_t>(share_begin - head * panels, 0),
                          std::min(share_end - head * panels, panels)};
    mix_panels(head, position / KvCache::kPage, group(), start, position + 1, weights, stride, dims);
    write_attended(0, head, own_.mixed.data(), dims.begin * kPanelRows, dims.end * kPanelRows);
  }
}

}  // namespace edgeq
