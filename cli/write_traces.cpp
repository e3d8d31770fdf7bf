// SPDX-License-Identifier: Apache-2.0
#include "cli/write_traces.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <unordered_set>

#include "core/interrupt.h"
#include "core/random.h"
#include "distill/answers.h"

namespace edgeq {
namespace {

// One sample on its way.
struct Sample {
  int64_t item;
  int64_t room;  // tokens, at most
  Sampler sampler;
  std::vector<TokenId> tokens = {};
};

// Where the first of the texts begins in `text`.
size_t find_stop(const std::string& text, const std::vector<std::string>& stops) {
  size_t at = std::string::npos;
  for (const std::string& stop : stops) at = std::min(at, text.find(stop));
  return at;
}

class Writer {
 public:
  Writer(const OpenModel& open, const TraceOptions& options, TraceJournal& journal)
      : open_(open), options_(options), journal_(journal) {}

  BatchRequest request(int64_t item, std::vector<TokenId> prompt) {
    SamplerOptions sampler = options_.sampler;
    sampler.seed = stream_seed(sampler.seed, uint64_t(item));
    const int64_t room = std::min(options_.tokens, open_.model->config().context - std::ssize(prompt));
    const auto sample =
        std::make_shared<Sample>(Sample{.item = item, .room = room, .sampler = Sampler(sampler)});
    return {.prompt = std::move(prompt),
            .tokens = room,
            .next = [this, sample](std::span<const float> logits) { return next(*sample, logits); }};
  }

 private:
  std::optional<TokenId> next(Sample& sample, std::span<const float> logits) {
    const TokenId token = sample.sampler.next(logits);
    const std::vector<TokenId>& ends = open_.tokenizer.end_tokens();
    if (std::ranges::find(ends, token) != ends.end()) {
      journal_.add(sample.item, {.text = open_.tokenizer.decode(sample.tokens), .ended = true});
      return std::nullopt;
    }
    sample.tokens.push_back(token);
    const bool last = std::ssize(sample.tokens) == sample.room;
    if (!last && options_.stops.empty()) return token;
    std::string text = open_.tokenizer.decode(sample.tokens);
    const size_t stop = find_stop(text, options_.stops);
    const bool stopped = stop != std::string::npos;
    if (stopped) text.resize(stop);
    if (stopped || last) journal_.add(sample.item, {.text = std::move(text), .ended = stopped});
    return stopped ? std::nullopt : std::optional(token);
  }

  const OpenModel& open_;
  const TraceOptions& options_;
  TraceJournal& journal_;
};

bool keeps(const TraceCounts& before, const TraceCounts& after, bool keep_all) {
  if (after.too_long > before.too_long) return false;
  return keep_all || after.right > before.right || after.unchecked > before.unchecked;
}

void judge(const WrittenTrace& written, const std::optional<Answer>& expected, TraceCounts& counts) {
  ++counts.written;
  if (!written.ended) {
    ++counts.too_long;
  } else if (!expected) {
    ++counts.unchecked;
  } else if (const auto answer = checkable_answer(written.text); !answer) {
    ++counts.no_answer;
  } else {
    ++(*answer == *expected ? counts.right : counts.wrong);
  }
}

}  // namespace

void write_traces(const OpenModel& open, std::span<const Trace> prompts, const TraceOptions& options,
                  TraceJournal& journal, const Progress& progress) {
  const int64_t context = open.model->config().context, items = std::ssize(prompts) * options.samples;
  std::vector<std::vector<TokenId>> tokens;
  int64_t longest = 1;  // of all prompts, done or not: positions of some models depend on it
  for (const Trace& prompt : prompts) {
    tokens.push_back(prompt_tokens(prompt.prompt, open.tokenizer, options.form));
    longest = std::max(longest, std::min(context, std::ssize(tokens.back()) + options.tokens));
  }
  const auto batch = open.model->start_batch({.sequences = options.parallel, .sequence_tokens = longest});
  Writer writer(open, options, journal);
  int64_t next = 0;
  size_t reported = journal.traces().size();
  report_progress(progress, "traces", std::ssize(journal.traces()), items);
  while (true) {
    for (; next < items && batch->running() + batch->waiting() < options.parallel; ++next) {
      if (journal.has(next)) continue;
      const std::vector<TokenId>& prompt = tokens[size_t(next / options.samples)];
      if (std::ssize(prompt) >= context)
        journal.add(next, {});
      else
        batch->submit(writer.request(next, prompt));
    }
    if (!batch->step() && next == items) break;
    check_interrupt();
    if (journal.traces().size() > reported)
      report_progress(progress, "traces", std::ssize(journal.traces()), items);
    reported = journal.traces().size();
  }
}

CheckedTraces check_traces(std::span<const Trace> prompts, const TraceJournal& journal, int64_t samples,
                           bool keep_all) {
  CheckedTraces checked;
  TraceCounts& counts = checked.counts;
  for (int64_t p = 0; p < std::ssize(prompts); ++p) {
    const Trace& prompt = prompts[size_t(p)];
    const std::optional<Answer> expected =
        prompt.answer.empty() ? std::nullopt : checkable_answer(prompt.answer);
    std::unordered_set<std::string> seen;
    const int64_t right_before = counts.right;
    for (int64_t s = 0; s < samples; ++s) {
      const auto written = journal.traces().find(p * samples + s);
      const TraceCounts before = counts;
      judge(written == journal.traces().end() ? WrittenTrace{} : written->second, expected, counts);
      if (!keeps(before, counts, keep_all) || written->second.text.empty()) continue;
      Trace trace = make_trace(prompt.prompt, written->second.text);
      const bool right = counts.right > before.right;
      if (trace.answer.empty() && right) trace.answer = prompt.answer;
      if (!seen.insert(completion(trace, false)).second) {
        ++counts.duplicates;
        continue;
      }
      ++counts.kept;
      checked.lines += trace_line(trace);
    }
    if (expected) counts.shares.push_back(double(counts.right - right_before) / double(samples));
  }
  return checked;
}

}  // namespace edgeq
