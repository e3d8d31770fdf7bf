// SPDX-License-Identifier: Apache-2.0
#include "runtime/attention.h"

#include <algorithm>
#include <cstring>

#include "formats/panels.h"

namespace edgeq {
namespace {

constexpr int64_t kPagePanels = KvCache::kPage / kPanelRows;

// That positions from 0 on lie in.
int64_t panels_of(int64_t positions) { return round_up(positions, kPanelRows) / kPanelRows; }

}  // namespace

int64_t Attention::most_scores(int64_t context, const Reach& reach) {
  const int64_t all = round_up(context, KvCache::kPage);
  if (!reach.limited()) return all;
  // A tile's first token sees up to a page before its window and a tile less at the end.
  static_assert(ThreadSpace::kTileTokens <= KvCache::kPage);
  const int64_t seen = round_up(reach.window, KvCache::kPage) + 2 * KvCache::kPage;
  return round_up(reach.sinks, KvCache::kPage) + seen;
}

Attention::Seen Attention::seen_by(int64_t position, int64_t end) const {
  const Reach& reach = in_.reach;
  Seen seen{.start = 0, .end = end, .origin = 0};
  if (!reach.limited() || position < reach.tokens()) return seen;
  seen.sinks = reach.sinks;
  seen.window_at = round_up(reach.sinks, KvCache::kPage);
  seen.start = position - reach.window + 1;
  seen.origin = seen.start / KvCache::kPage * KvCache::kPage;
  return seen;
}

void Attention::weigh(float* scores, int64_t count) const noexcept {
  if (in_.soft_cap == 0) {
    in_.kernels.softmax(scores, count, in_.scale);
    return;
  }
  in_.kernels.soft_cap(scores, count, in_.scale / in_.soft_cap, in_.soft_cap);
  in_.kernels.softmax(scores, count, 1.0f);
}

void Attention::weigh_row(float* row, int64_t position, const Seen& tile) const noexcept {
  const int64_t begin = tile.at(seen_by(position, position + 1).start), end = tile.at(position + 1);
  // The softmax is over neighbours: for its time the sinks stand just before the window.
  float* all = row + begin - tile.sinks;
  std::memmove(all, row, size_t(tile.sinks) * sizeof(float));
  weigh(all, end - begin + tile.sinks);
  std::memmove(row, all, size_t(tile.sinks) * sizeof(float));
  std::fill(row + tile.sinks, row + begin, 0.0f);
  std::fill(row + end, row + tile.scores(), 0.0f);
}

void Attention::store_token(int64_t token, int64_t kv_head) noexcept {
  const int64_t head_dim = in_.shape.head_dim, position = in_.first + token;
  float* key = own_.key.data();
  std::copy_n(space_.k.row(in_.row + token) + kv_head * head_dim, head_dim, key);
  if (!in_.k_norm.empty()) in_.kernels.rms_norm(key, in_.k_norm.data(), head_dim, in_.epsilon, key);
  const RopeTable::Turn turn = turn_of(token);
  in_.kernels.rope(key, turn.cosine, turn.sine, in_.rope.half());
  cache_.write(in_.layer, kv_head, position, key, space_.v.row(in_.row + token) + kv_head * head_dim);
}

void Attention::load_queries(int64_t token, int64_t kv_head, const RopeTable::Turn& turn,
                             float* out) noexcept {
  const int64_t head_dim = in_.shape.head_dim;
  std::copy_n(space_.q.row(in_.row + token) + kv_head * group() * head_dim, group() * head_dim, out);
  for (float* query = out; query < out + group() * head_dim; query += head_dim) {
    if (!in_.q_norm.empty()) in_.kernels.rms_norm(query, in_.q_norm.data(), head_dim, in_.epsilon, query);
    in_.kernels.rope(query, turn.cosine, turn.sine, in_.rope.half());
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
    const KernelFloatWeight keys = cache_.keys(in_.kernels, {in_.layer, kv_head, page},
                                               page_seen(page, own_page), range, own_.decoded.data());
    in_.kernels.float_matmul(keys, own_.queries.data(), in_.shape.head_dim, queries,
                             scores + (page * KvCache::kPage - origin), stride, range.begin, range.end);
    begin = first + range.end;
  }
}

void Attention::mix_panels(int64_t kv_head, int64_t own_page, int64_t queries, int64_t start, int64_t end,
                           const float* weights, int64_t stride, PanelRange dims) noexcept {
  float *mixed = own_.mixed.data(), *of_page = own_.mixed_page.data();
  for (int64_t page = start / KvCache::kPage; page * KvCache::kPage < end; ++page) {
    KernelFloatWeight values = cache_.values(in_.kernels, {in_.layer, kv_head, page},
                                             page_seen(page, own_page), dims, own_.decoded.data());
    values.cols = std::min(KvCache::kPage, end - page * KvCache::kPage);
    in_.kernels.float_matmul(values, weights + (page - start / KvCache::kPage) * KvCache::kPage, stride,
                             queries, of_page, head_stride(), dims.begin, dims.end);
    for (int64_t q = 0; q < queries; ++q)
      for (int64_t d = dims.begin * kPanelRows; d < dims.end * kPanelRows; ++d)
        mixed[q * head_stride() + d] += of_page[q * head_stride() + d];
  }
}

void Attention::mix_seen(int64_t kv_head, int64_t own_page, int64_t queries, const Seen& seen,
                         const float* weights, int64_t stride, PanelRange dims) noexcept {
  std::fill_n(own_.mixed.data(), queries * head_stride(), 0.0f);
  if (seen.sinks > 0) mix_panels(kv_head, own_page, queries, 0, seen.sinks, weights, stride, dims);
  mix_panels(kv_head, own_page, queries, seen.start, seen.end, weights + seen.window_at, stride, dims);
}

void Attention::attend(int64_t& unit) noexcept {
  const Reach& reach = in_.reach;
  const int64_t end_of_all = in_.first + in_.tokens;
  int64_t positions = round_up(end_of_all, KvCache::kPage);
  if (reach.limited() && end_of_all > reach.tokens())
    positions = std::min(positions + round_up(reach.sinks, KvCache::kPage), most_scores(0, reach));
  const int64_t tile =
      std::clamp<int64_t>(ThreadSpace::kScoreFloats / (positions * group()), 1, ThreadSpace::kTileTokens);
  for (int64_t begin = 0, end = 0; begin < in_.tokens; begin = end) {
    // Tokens of a tile share their own page, and all or none of them see everything.
    const int64_t page_end = round_up(in_.first + begin + 1, KvCache::kPage) - in_.first;
    end = std::min({begin + tile, page_end, in_.tokens});
    if (const int64_t seam = reach.tokens() - in_.first; begin < seam) end = std::min(end, seam);
    for (int64_t head = 0; head < in_.shape.kv_heads; ++head)
      if (unit++ % threads_ == thread_) attend_tile(begin, end, head);
  }
}

void Attention::attend_tile(int64_t token_begin, int64_t token_end, int64_t kv_head) noexcept {
  const int64_t head_dim = in_.shape.head_dim, queries = (token_end - token_begin) * group();
  const int64_t first = in_.first + token_begin, end = in_.first + token_end,
                own_page = first / KvCache::kPage;
  const Seen seen = seen_by(first, end);
  const int64_t stride = round_up(seen.scores(), kPanelRows);
  float* scores = own_.scores.data();
  const auto load = [&](const auto& turn) {
    for (int64_t t = token_begin; t < token_end; ++t)
      load_queries(t, kv_head, turn(t), own_.queries.data() + (t - token_begin) * group() * head_dim);
  };

  if (seen.sinks > 0) {
    load([&](int64_t) { return sink_turn(); });
    score_panels(kv_head, own_page, queries, {0, panels_of(seen.sinks)}, 0, scores, stride);
  }
  load([&](int64_t t) { return turn_of(t); });
  score_panels(kv_head, own_page, queries, {seen.start / kPanelRows, panels_of(end)}, seen.origin,
               scores + seen.window_at, stride);
  for (int64_t i = 0; i < queries; ++i) weigh_row(scores + i * stride, first + i / group(), seen);
  mix_seen(kv_head, own_page, queries, seen, scores, stride, {0, head_stride() / kPanelRows});
  for (int64_t t = token_begin; t < token_end; ++t)
    write_attended(t, kv_head, own_.mixed.data() + (t - token_begin) * group() * head_stride(), 0, head_dim);
}

void Attention::score() noexcept {
  const int64_t position = in_.first, own_page = position / KvCache::kPage, stride = space_.scores.stride;
  const Seen seen = seen_by(position, position + 1);
  // Panels of the sinks, then those from `first` on.
  const int64_t sinks = panels_of(seen.sinks), first = seen.start / kPanelRows;
  const int64_t panels = sinks + panels_of(position + 1) - first;
  const int64_t total = panels * in_.shape.kv_heads;
  const int64_t share_begin = total * thread_ / threads_, share_end = total * (thread_ + 1) / threads_;
  for (int64_t head = share_begin / panels; head * panels < share_end; ++head) {
    const int64_t begin = std::max<int64_t>(share_begin - head * panels, 0);
    const int64_t end = std::min(share_end - head * panels, panels);
    if (end == panels) store_token(0, head);  // this thread alone reads the panel of the new position
    float* scores = space_.scores.row(head * group());
    if (begin < sinks) {
      load_queries(0, head, sink_turn(), own_.queries.data());
      score_panels(head, own_page, group(), {begin, std::min(end, sinks)}, 0, scores, stride);
    }
    if (end <= sinks) continue;
    load_queries(0, head, turn_of(0), own_.queries.data());
    score_panels(head, own_page, group(), {first + std::max(begin, sinks) - sinks, first + end - sinks},
                 seen.origin, scores + seen.window_at, stride);
  }
}

void Attention::mix() noexcept {
  const int64_t position = in_.first;
  const Seen seen = seen_by(position, position + 1);
  const int64_t stride = seen.scores();
  const int64_t panels = head_stride() / kPanelRows, total = panels * in_.shape.kv_heads;
  const int64_t share_begin = total * thread_ / threads_, share_end = total * (thread_ + 1) / threads_;
  float* weights = own_.scores.data();
  for (int64_t head = share_begin / panels; head * panels < share_end; ++head) {
    for (int64_t h = 0; h < group(); ++h) {
      float* row = weights + h * stride;
      std::copy_n(space_.scores.row(head * group() + h), stride, row);
      weigh_row(row, position, seen);
    }
    const PanelRange dims{std::max<int64_t>(share_begin - head * panels, 0),
                          std::min(share_end - head * panels, panels)};
    mix_seen(head, position / KvCache::kPage, group(), seen, weights, stride, dims);
    write_attended(0, head, own_.mixed.data(), dims.begin * kPanelRows, dims.end * kPanelRows);
  }
}

}  // namespace edgeq
