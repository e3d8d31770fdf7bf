// SPDX-License-Identifier: Apache-2.0
#include "runtime/packed_batch.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "core/error.h"
#include "core/interrupt.h"
#include "models/language_model.h"

namespace edgeq {
namespace {

void check(const BatchOptions& options) {
  if (options.sequences < 1 || options.sequences > Transformer::kMaxRows)
    throw Error(
        fmt::format("a batch of {} sequences; expected 1 to {}", options.sequences, Transformer::kMaxRows));
  for (const int64_t tokens : {options.pool_tokens, options.sequence_tokens})
    if (tokens < 0) throw Error(fmt::format("a KV pool of {} tokens; expected at least 0", tokens));
}

}  // namespace

PackedBatch::PackedBatch(std::shared_ptr<Transformer> model, const KvScheme& kv, const BatchOptions& options)
    : model_(std::move(model)), share_prefixes_(options.share_prefixes) {
  check(options);
  const int64_t context = model_->config().context;
  const int64_t each = options.sequence_tokens != 0 ? options.sequence_tokens : context;
  room_ = std::clamp(each, context, model_->longest_sequence());
  const KvLayout layout = model_->kv_layout(kv);
  const int64_t pages = options.pool_tokens != 0 ? KvLayout::pages_of(options.pool_tokens)
                                                 : options.sequences * layout.most_pages(each);
  pool_ = std::make_shared<KvPool>(layout, pages, options.sequences);
  for (int64_t i = 0; i < options.sequences; ++i) idle_.push_back(std::make_unique<Sequence>(pool_, room_));
  running_.reserve(size_t(options.sequences));
  chunks_.reserve(size_t(options.sequences));
  owners_.reserve(size_t(options.sequences));
  logits_ = AlignedBuffer<float>(options.sequences * model_->logits_stride());
}

int64_t PackedBatch::submit(BatchRequest request) {
  const int64_t prompt = std::ssize(request.prompt);
  if (prompt == 0 || request.tokens < 1)
    throw Error(fmt::format("a request for {} tokens after a prompt of {}; expected at least 1 of each",
                            request.tokens, prompt));
  check_tokens(request.prompt, model_->config());
  check_room(prompt, request.tokens, room_);
  // The last token made is nobody's past.
  if (const int64_t pages = pool_->layout().most_pages(prompt + request.tokens - 1); pages > pool_->pages())
    throw Error(fmt::format("a request of {} tokens needs {} pages of {} in the KV pool; it has {}",
                            prompt + request.tokens, pages, KvCache::kPage, pool_->pages()));
  Job job{.id = next_id_++, .request = std::move(request)};
  job.tokens.reserve(size_t(job.room()));
  job.tokens = job.request.prompt;
  waiting_.push_back(std::move(job));
  return waiting_.back().id;
}

void PackedBatch::cancel(int64_t id) {
  std::erase_if(waiting_, [&](const Job& job) { return job.id == id; });
  for (Job& job : running_)
    if (job.id == id) retire(job);
  std::erase_if(running_, [&](const Job& job) { return job.id == id; });
}

void PackedBatch::retire(Job& job) {
  job.sequence->restart(0);
  idle_.push_back(std::move(job.sequence));
}

void PackedBatch::admit() {
  while (!waiting_.empty() && !idle_.empty()) {
    // A page for each that runs, so that a newcomer does not drive out whoever is about to grow.
    const int64_t wanted = pool_->layout().most_pages(std::ssize(waiting_.front().tokens)) + running();
    if (running() > 0 && wanted > pool_->free_pages()) return;
    Job job = std::move(waiting_.front());
    waiting_.pop_front();
    job.sequence = std::move(idle_.back());
    idle_.pop_back();
    job.sequence->restart(job.room());
    job.sequence->append(job.tokens);
    running_.push_back(std::move(job));
  }
}

bool PackedBatch::begin(Job& job) {
  if (!share_prefixes_) return true;
  const Sequence* best = nullptr;
  int64_t most = 0, coming = 0;
  for (const Job& other : running_) {
    if (&other == &job) break;  // those before are older
    if (model_->rope_kind(job.room()) != model_->rope_kind(other.room())) continue;
    const std::span<const TokenId> a = job.tokens, b = other.tokens;
    // The last token of a prompt is computed, for its logits.
    const auto same = std::min<int64_t>(std::ranges::mismatch(a, b).in1 - a.begin(), std::ssize(a) - 1);
    const int64_t had = std::min(same, other.sequence->cached());
    coming = std::max(coming, same);
    if (had > most) {
      most = had;
      best = other.sequence.get();
    }
  }
  if (coming >= most + KvCache::kPage) return false;
  if (most < KvCache::kPage) return true;
  job.sequence->adopt(*best, most);
  stats_.shared_tokens += job.sequence->cached();
  return true;
}

void PackedBatch::preempt_youngest() {
  Job& job = running_.back();
  retire(job);
  waiting_.push_front(std::move(job));
  running_.pop_back();
  ++stats_.preempted;
}

bool PackedBatch::take_chunk(size_t at, int64_t most) {
  Sequence& sequence = *running_[at].sequence;
  const int64_t length = sequence.length(), end = sequence.next_chunk_end(length, most);
  while (sequence.cache().pages_wanted(sequence.cached(), end) > pool_->free_pages()) {
    const bool alone = at + 1 == running_.size();
    preempt_youngest();
    if (alone) return false;
  }
  chunks_.push_back(sequence.next_chunk(length, most, length - 1));
  owners_.push_back(at);
  rows_ += std::ssize(chunks_.back().tokens);
  return true;
}

void PackedBatch::take_chunks() {
  chunks_.clear();
  owners_.clear();
  rows_ = 0;
  int64_t decoding = std::ranges::count_if(running_, &Job::decodes);
  for (size_t i = 0; i < running_.size(); ++i) {
    Job& job = running_[i];
    if (job.decodes()) --decoding;
    // A row is kept for each younger one that decodes.
    const int64_t most = Transformer::kMaxRows - rows_ - decoding;
    if (most <= 0 || (job.sequence->cached() == 0 && !begin(job))) continue;
    if (!take_chunk(i, most)) return;
    decoding = std::min(decoding, std::ssize(running_) - int64_t(i) - 1);
  }
}

bool PackedBatch::step() {
  check_interrupt();
  admit();
  if (running_.empty()) return false;
  take_chunks();
  model_->forward(chunks_, logits_.data());
  ++stats_.steps;
  stats_.rows += rows_;
  for (size_t i = 0; i < chunks_.size(); ++i) running_[owners_[i]].sequence->done(chunks_[i]);
  hand_out();
  return true;
}

void PackedBatch::hand_out() {
  const float* logits = logits_.data();
  std::exception_ptr thrown;
  for (size_t i = 0; i < chunks_.size(); ++i) {
    if (chunks_[i].logit_rows == 0) continue;
    Job& job = running_[owners_[i]];
    bool goes_on = false;
    try {
      goes_on = accept(job, logits);
    } catch (...) {
      if (!thrown) thrown = std::current_exception();
    }
    if (!goes_on) retire(job);
    logits += model_->logits_stride();
  }
  std::erase_if(running_, [](const Job& job) { return job.sequence == nullptr; });
  if (thrown) std::rethrow_exception(thrown);
}

bool PackedBatch::accept(Job& job, const float* logits) {
  const auto token = job.request.next({logits, size_t(model_->config().vocab)});
  if (!token) return false;
  job.tokens.push_back(*token);
  job.sequence->append({&*token, 1});
  return std::ssize(job.tokens) < job.room();
}

BatchStats PackedBatch::stats() const {
  BatchStats stats = stats_;
  stats.pool_pages = pool_->pages();
  stats.free_pages = pool_->free_pages();
  stats.page_tokens = KvCache::kPage;
  stats.pool_bytes = pool_->bytes();
  for (const Job& job : running_) {
    stats.held_tokens += job.sequence->cached();
    stats.held_pages += job.sequence->cache().pages();
  }
  return stats;
}

}  // namespace edgeq
