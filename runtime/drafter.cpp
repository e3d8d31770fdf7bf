// SPDX-License-Identifier: Apache-2.0
#include "runtime/drafter.h"

#include <algorithm>

#include "runtime/sampler.h"

namespace edgeq {
namespace {

class PromptLookup final : public Drafter {
 public:
  std::span<const TokenId> propose(std::span<const TokenId> text, int64_t most) override {
    for (int64_t n = kLookupMost; n >= kLookupLeast; --n) {
      if (std::ssize(text) <= n) continue;
      const auto tail = text.last(size_t(n)), before = text.first(text.size() - 1);
      const auto found = std::find_end(before.begin(), before.end(), tail.begin(), tail.end());
      if (found == before.end()) continue;
      const auto next = size_t(found - before.begin() + n);
      return text.subspan(next, std::min(size_t(most), text.size() - next));
    }
    return {};
  }
};

class ModelDrafter final : public Drafter {
 public:
  ModelDrafter(const LanguageModel& model, int64_t max_tokens)
      : session_(model.start({.max_tokens = max_tokens})), max_tokens_(max_tokens) {}

  std::span<const TokenId> propose(std::span<const TokenId> text, int64_t most) override {
    guess_.clear();
    // The last guess is never fed, so the text has room for one token more than the cache.
    most = std::min(most, max_tokens_ - std::ssize(text) + 1);
    if (most <= 0) return {};
    const auto same = std::ranges::mismatch(fed_, text).in1 - fed_.begin();
    const int64_t kept = std::min<int64_t>(same, std::ssize(text) - 1);
    session_->truncate(kept);
    fed_.resize(size_t(kept));
    MatrixView<const float> logits = feed(text.subspan(size_t(kept)));
    while (true) {
      guess_.push_back(best_token({logits.data, size_t(logits.cols)}));
      if (std::ssize(guess_) == most) return guess_;
      logits = feed(std::span(guess_).last(1));
    }
  }

 private:
  MatrixView<const float> feed(std::span<const TokenId> tokens) {
    fed_.insert(fed_.end(), tokens.begin(), tokens.end());
    return session_->feed(tokens, Logits::last);
  }

  std::unique_ptr<Session> session_;
  int64_t max_tokens_;
  std::vector<TokenId> fed_, guess_;
};

}  // namespace

std::unique_ptr<Drafter> make_prompt_lookup() { return std::make_unique<PromptLookup>(); }

std::unique_ptr<Drafter> make_model_drafter(const LanguageModel& model, int64_t max_tokens) {
  return std::make_unique<ModelDrafter>(model, max_tokens);
}

}  // namespace edgeq
