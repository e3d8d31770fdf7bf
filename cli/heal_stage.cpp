// SPDX-License-Identifier: Apache-2.0
#include "cli/heal_stage.h"

#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <utility>

#include "cli/engines.h"
#include "core/error.h"
#include "recipe/recipe.h"

namespace edgeq {
namespace {

TrainingSpec with_texts(TrainingSpec spec, const std::vector<std::string>& calibration) {
  if (!spec.data.empty()) return spec;
  const auto no_file = [](const std::string& text) { return text == kDefaultCorpus || text == kSelfCorpus; };
  if (calibration.empty() || std::ranges::any_of(calibration, no_file))
    throw Error(
        fmt::format("heal names no data, and the calibration text is \"{}\", which is too short to train on",
                    calibration.empty() ? kDefaultCorpus : std::string_view(calibration.front())))
        .set_hint("heal: {data: {texts: [a.txt]}, ...}, or --calibration a.txt");
  spec.data.texts = calibration;
  return spec;
}

}  // namespace

void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_ARENA_MAX, 1);  // of several, only the first grows beyond 64 MB
  mallopt(M_MMAP_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
#endif
}

std::function<void(const TrainReport&)> show_steps(ProgressBar& bar) {
  return [&bar](const TrainReport& so_far) {
    bar.set_detail(fmt::format("loss {:.4f}, {:.0f} tokens/s", so_far.losses.front().back(),
                               so_far.tokens_per_second()));
  };
}

HealStage::HealStage(TrainingSpec spec, const std::vector<std::string>& calibration,
                     std::shared_ptr<const Checkpoint> teacher, std::string folder)
    : spec_(with_texts(std::move(spec), calibration)),
      teacher_(std::move(teacher)),
      folder_(std::move(folder)) {
  if (spec_.train.teacher_cache)
    with_context("heal: teacher_cache",
                 [&] { check_form(*spec_.train.teacher_cache, teacher_->config().vocab); });
  data_ = with_context("heal", [&] { return read_training_data(spec_.data, *teacher_, spec_.train.seed); });
}

Distilled HealStage::run(const std::shared_ptr<const Checkpoint>& cut, ProgressBar& bar) const {
  const int64_t common = common_vocab(cut->tokenizer(), cut->config().vocab, *teacher_);
  Distilled done = distill({.spec = spec_,
                            .title = "heal",
                            .beginning = begin_student({}, cut, teacher_, spec_.train.seed),
                            .teacher = teacher_,
                            .common_vocab = common,
                            .data = data_,
                            .folder = folder_,
                            .adapters = {},
                            .train = &train_on_torch,
                            .teach = &teach_on_torch,
                            .stepped = show_steps(bar)},
                           bar.callback());
  bar.set_detail("");
  return done;
}

void HealStage::remove_folder() const { std::filesystem::remove_all(folder_); }

}  // namespace edgeq
