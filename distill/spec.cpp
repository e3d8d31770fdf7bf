// SPDX-License-Identifier: Apache-2.0
#include "distill/spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "core/error.h"

namespace edgeq {
namespace {

constexpr std::pair<LossKind, std::string_view> kLosses[] = {
    {LossKind::forward_kl, "forward_kl"},
    {LossKind::reverse_kl, "reverse_kl"},
    {LossKind::js, "js"},
    {LossKind::skewed_kl, "skewed_kl"},
    {LossKind::skewed_reverse_kl, "skewed_reverse_kl"},
    {LossKind::cross_entropy, "cross_entropy"},
    {LossKind::hidden, "hidden"},
    {LossKind::relation, "relation"},
};

void require(bool good, std::string_view what, double found, std::string_view expected) {
  if (!good) throw Error(fmt::format("{} is {:g}; expected {}", what, found, expected));
}

void validate(const LossTerm& term, bool has_teacher) {
  const std::string_view name = loss_name(term.kind);
  if (needs_teacher(term.kind) && !has_teacher)
    throw Error(fmt::format("the loss {} compares with a teacher, and there is none", name))
        .set_hint("name a teacher, or train on cross_entropy alone");
  require(term.weight >= 0 && std::isfinite(term.weight), fmt::format("the weight of {}", name), term.weight,
          "at least 0");
  require(term.final_weight >= 0 && std::isfinite(term.final_weight), fmt::format("the weight of {}", name),
          term.final_weight, "at least 0");
  require(term.temperature >= 0.05 && term.temperature <= 100, fmt::format("the temperature of {}", name),
          term.temperature, "0.05 to 100");
  require(term.mix > 0 && term.mix < 1, fmt::format("the mix of {}", name), term.mix, "between 0 and 1");
  require(term.matched >= 1, fmt::format("matched of {}", name), double(term.matched), "at least 1");
  require(term.heads >= 0, fmt::format("heads of {}", name), double(term.heads), "at least 0");
}

// A loss must be exact, or right in the mean, for what is kept of the teacher.
void check_cached(const LossTerm& term, const TeacherForm& form) {
  const auto refuse = [&](std::string_view why) {
    throw Error(
        fmt::format("{} cannot be taken from a cached teacher: {}; expected forward_kl at temperature 1, "
                    "cross_entropy, or no teacher_cache",
                    loss_name(term.kind), why));
  };
  if (term.kind == LossKind::hidden || term.kind == LossKind::relation)
    refuse("it looks inside the teacher, and distributions are kept");
  if (needs_teacher(term.kind) && term.kind != LossKind::forward_kl)
    refuse(fmt::format("it needs the probability of every token, and {} is kept", form_text(form)));
  if (term.kind == LossKind::forward_kl && term.temperature != 1)
    refuse(fmt::format("its temperature is {:g}, and what is kept is of temperature 1", term.temperature));
}

}  // namespace

std::string_view loss_name(LossKind kind) {
  return std::ranges::find(kLosses, kind, &std::pair<LossKind, std::string_view>::first)->second;
}

LossKind parse_loss(std::string_view name) {
  std::string known;
  for (const auto& [kind, text] : kLosses) {
    if (text == name) return kind;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", text);
  }
  throw Error(fmt::format("there is no loss \"{}\"; expected one of {}", name, known));
}

bool needs_teacher(LossKind kind) { return kind != LossKind::cross_entropy; }

void validate(const TrainSpec& spec, bool has_teacher) {
  if (spec.losses.empty()) throw Error("there is no loss to train on");
  if (spec.teacher_cache && !has_teacher) throw Error("there is no teacher whose predictions to cache");
  for (const LossTerm& term : spec.losses) {
    validate(term, has_teacher);
    if (spec.teacher_cache) check_cached(term, *spec.teacher_cache);
  }
  if (std::ranges::all_of(spec.losses,
                          [](const LossTerm& term) { return term.weight == 0 && term.final_weight == 0; }))
    throw Error("every loss has the weight 0");
  require(spec.tokens >= 1, "tokens", double(spec.tokens), "at least 1");
  require(spec.batch >= 1 && spec.batch <= 1 << 20, "batch", double(spec.batch), "1 to 1048576");
  require(spec.rate > 0 && spec.rate <= 1, "rate", spec.rate, "above 0, at most 1");
  require(spec.warmup >= 0 && spec.warmup < 1, "warmup", spec.warmup, "a share, 0 to below 1");
  require(spec.final_rate >= 0 && spec.final_rate <= 1, "final_rate", spec.final_rate, "a share, 0 to 1");
  require(spec.decay >= 0 && spec.decay <= 1, "decay", spec.decay, "0 to 1");
  require(spec.clip >= 0 && std::isfinite(spec.clip), "clip", spec.clip, "at least 0");
  require(spec.checkpoint_blocks >= 0, "checkpoint_blocks", double(spec.checkpoint_blocks), "at least 0");
  require(spec.save_minutes > 0, "save_minutes", spec.save_minutes, "above 0");
  require(spec.looks >= 1, "looks", double(spec.looks), "at least 1");
  require(spec.patience >= 0, "patience", double(spec.patience), "at least 0");
}

double weight_at(const LossTerm& term, int64_t step, int64_t steps) {
  const double along = steps > 1 ? double(step) / double(steps - 1) : 0;
  return term.weight + (term.final_weight - term.weight) * along;
}

double rate_at(const TrainSpec& spec, int64_t step, int64_t steps) {
  const double warm = std::ceil(spec.warmup * double(steps));
  if (double(step) < warm) return spec.rate * double(step + 1) / warm;
  const double along = double(steps) - warm > 1 ? (double(step) - warm) / (double(steps) - warm - 1) : 1;
  const double cosine = (1 + std::cos(std::numbers::pi * std::min(along, 1.0))) / 2;
  return spec.rate * (spec.final_rate + (1 - spec.final_rate) * cosine);
}

std::string term_text(const LossTerm& term, const TrainSpec& spec) {
  std::string text(loss_name(term.kind));
  if (!spec.teacher_cache || !needs_teacher(term.kind)) return text;
  const bool samples = spec.teacher_cache->kind == TeacherKind::samples;
  return text + fmt::format(" ({}{})", samples ? "cross entropy with " : "", form_text(*spec.teacher_cache));
}

std::string spec_key(const TrainSpec& spec) {
  std::string key;
  for (const LossTerm& t : spec.losses)
    key += fmt::format("loss {} {} {} {} {} {} {}\n", loss_name(t.kind), t.weight, t.final_weight,
                       t.temperature, t.mix, t.matched, t.heads);
  if (spec.teacher_cache) key += fmt::format("teacher kept: {}\n", form_text(*spec.teacher_cache));
  return key + fmt::format("train {} {} {} {} {} {} {} {} {} {} {} {}\n", spec.tokens, spec.batch, spec.rate,
                           spec.warmup, spec.final_rate, spec.decay, spec.clip, int(spec.arithmetic),
                           spec.checkpoint_blocks, spec.looks, spec.patience, spec.seed);
}

}  // namespace edgeq
