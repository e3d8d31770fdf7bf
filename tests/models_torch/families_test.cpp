// SPDX-License-Identifier: Apache-2.0
// Every family end to end on the models whose logits transformers computed: through GGUF and back, and
// through calibration, the main loop and a packed file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "models/coded_model.h"
#include "models/export.h"
#include "models/packed_checkpoint.h"
#include "models/torch/torch_model.h"
#include "quantizers/registry.h"
#include "recipe/compress.h"
#include "recipe/journal_model.h"
#include "recipe/parse.h"
#include "recipe/walk.h"
#include "recipe/write.h"
#include "runtime/runtime.h"
#include "tests/support/golden_logits.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

// The golden models have no tokenizer; a file has to have one.
Tokenizer any_tokenizer(int64_t vocab) {
  TokenizerData data;
  data.kind = TokenizerKind::spm;
  for (int64_t id = 0; id < vocab; ++id) {
    data.tokens.push_back(id == 0 ? "<unk>" : "t" + std::to_string(id));
    data.types.push_back(id == 0 ? TokenType::unknown : TokenType::normal);
    data.scores.push_back(-float(id));
  }
  data.unknown = 0;
  data.byte_fallback = true;
  return Tokenizer::deserialize(serialize_tokenizer(data));
}

class WithTokenizer final : public CodedModel {
 public:
  explicit WithTokenizer(std::shared_ptr<const Checkpoint> checkpoint)
      : model_(coded_model(std::move(checkpoint))) {}
  const std::string& path() const override { return model_->path(); }
  const ModelConfig& config() const override { return model_->config(); }
  Tokenizer tokenizer() const override { return any_tokenizer(config().vocab); }
  std::string provenance_json() const override { return model_->provenance_json(); }
  WeightForm form(std::string_view site) const override { return model_->form(site); }
  CodedWeight weight(std::string_view site) const override { return model_->weight(site); }
  Tensor vector(std::string_view name) const override { return model_->vector(name); }

 private:
  std::unique_ptr<CodedModel> model_;
};

Windows some_windows() {
  Windows windows{.length = 20, .tokens = {}};
  for (int i = 0; i < 20 * 5; ++i) windows.tokens.push_back(TokenId((i * 37 + i * i) % 48));
  return windows;
}

double difference(const LanguageModel& model, const GoldenLogits& golden) {
  const auto session = model.start({.max_tokens = std::ssize(golden.tokens)});
  return relative_difference(session->feed(golden.tokens, Logits::all), golden.logits.matrix());
}

class Family : public testing::TestWithParam<std::string> {
 protected:
  const GoldenLogits golden_ = read_golden(GetParam());
  const std::shared_ptr<const Checkpoint> checkpoint_ = open_checkpoint(golden_.folder);
  const TempDir dir_;
};

TEST_P(Family, GivesTheLogitsOfTransformersThroughGguf) {
  const std::string path = dir_.file("model.gguf");
  try {
    export_gguf(WithTokenizer(checkpoint_), path);
  } catch (const Error& error) {
    // What llama.cpp does not compute, by name.
    const bool known = GetParam() == "gpt-neox-sequential" || GetParam() == "gemma3-scaled";
    EXPECT_TRUE(known) << error.what();
    EXPECT_THAT(error.what(), testing::HasSubstr("GGUF architecture"));
    return;
  }
  const auto read = open_checkpoint(path);
  if (read->config().context < std::ssize(golden_.tokens)) {  // cut to a window that llama.cpp would ignore
    EXPECT_EQ(read->config().context, checkpoint_->config().layers[0].window);
    return;
  }
  EXPECT_LE(difference(*open_float_runtime(*read, {.threads = 1}), golden_), kLogitTolerance);
  EXPECT_LE(difference(*open_torch_model(*read), golden_), kLogitTolerance);
}

TEST_P(Family, IsQuantizedAndRunsAsItsCodesMean) {
  const Recipe recipe = parse_recipe(
      "calibration: {corpus: text.txt}\n"
      "rules: [{match: \"*\", quantizer: gptq, scheme: int4-channel-sym}]\n",
      "r.yaml");
  const Plan plan = make_plan(recipe, *checkpoint_);
  const Windows windows = some_windows();
  const auto walk = open_torch_blockwise(checkpoint_);
  Journal journal(dir_.file("journal"), "key");
  compress({.plan = plan, .model = *walk, .windows = windows}, journal, {});
  const std::string path = dir_.file("model.packed");
  plan.target->write(JournalModel(plan, journal, any_tokenizer(48), {}), path, OutputFile::Existing::refuse);
  std::vector<SiteReport> reports;
  for (const std::string& part : part_names(plan.config))
    for (const SiteResult& site : journal.load(part).sites) reports.push_back(site.report);
  EXPECT_EQ(reports.size(), plan.sites.size());
  for (const SiteReport& site : reports) {
    EXPECT_TRUE(site.calibrated || site.name == "embedding") << site.name;
    EXPECT_GT(site.relative_error, 0) << site.name;
  }

  // The packed file holds all that the family needs: both engines agree on what the codes mean.
  auto packed = std::make_shared<const PackedModel>(PackedModel::open(path));
  EXPECT_EQ(packed->config(), checkpoint_->config());
  const auto runtime = open_packed_runtime(packed, {.threads = 1, .activations = Activations::f32});
  const auto torch = open_torch_model(*open_packed_checkpoint(PackedModel::open(path)));
  const SessionOptions room{.max_tokens = std::ssize(golden_.tokens)};
  const auto a = runtime->start(room), b = torch->start(room);
  const auto expected = b->feed(golden_.tokens, Logits::all);
  EXPECT_LE(relative_difference(a->feed(golden_.tokens, Logits::all), expected), kLogitTolerance);
  EXPECT_GT(relative_difference(expected, golden_.logits.matrix()), kLogitTolerance) << "nothing was rounded";
}

// Of what the head reads after two walks, the largest difference as a part of the largest value.
double head_input_difference(const Walk& a, const Walk& b) {
  double largest = 0;
  for (size_t i = 0; i < a.states().size(); ++i)
    largest =
        std::max(largest, relative_difference(a.states()[i].input.matrix(), b.states()[i].input.matrix()));
  return largest;
}

TEST_P(Family, TransformsKeepTheFunction) {
  // Scales round gains and weights by 2^-24 each; measured: below 3e-6 in every family.
  constexpr double kTolerance = 1e-5;
  const auto model = open_torch_blockwise(checkpoint_);
  const Windows windows = some_windows();
  const StatsMap stats = float_statistics(*model, windows, kNeedHessian, {});
  const Ends ends = model->ends();
  for (const TransformEntry& entry : transforms()) {
    const auto transform = make_transform(entry.name, Options());
    Walk plain(*model, windows, ends), transformed(*model, windows, ends), broken(*model, windows, ends);
    bool changed = false;
    for (int b = 0; b < int(model->config().layers.size()); ++b) {
      const Block before = model->load(b);
      std::vector<InputStats> of_stages;
      for (int s = 0; s < int(before.stages.size()); ++s)
        of_stages.push_back(stats.at(stage_name(before, s)));
      const std::vector<std::optional<QuantScheme>> schemes(before.sites.size(),
                                                            parse_scheme("int4-channel-sym"));
      Block after = before;
      transform->apply(after, {.config = model->config(), .stats = of_stages, .schemes = schemes});
      for (size_t i = 0; i < before.sites.size(); ++i)
        changed |=
            relative_difference(after.sites[i].weight.matrix(), before.sites[i].weight.matrix()) > 1e-3;
      plain.pass(before);
      transformed.pass(after);
      for (int64_t c = 0; c < after.sites[2].weight.cols(); ++c)
        after.sites[2].weight.matrix()(0, c) *= 1.05f;
      broken.pass(after);
    }
    plain.finish(ends);
    transformed.finish(ends);
    broken.finish(ends);
    EXPECT_TRUE(changed) << entry.name;
    EXPECT_LE(head_input_difference(transformed, plain), kTolerance) << entry.name;
    EXPECT_GT(head_input_difference(broken, plain), kTolerance) << entry.name << ": a row of v off by 5 %";
  }
}

// What two streams differ by is what was lost, and not the scale of their channels.
TEST_P(Family, CorrectionsStaySmallAfterATransform) {
  const Recipe recipe = parse_recipe(
      "calibration: {corpus: text.txt}\n"
      "transforms: [{smooth: {alpha: 0.8}}]\n"
      "rules: [{match: \"*\", quantizer: gptq, scheme: int8-channel-sym, correct: {damp: 0.1}}]\n",
      "r.yaml");
  const Plan plan = make_plan(recipe, *checkpoint_);
  const Windows windows = some_windows();
  Journal journal(dir_.file("journal"), "key");
  compress({.plan = plan, .model = *open_torch_blockwise(checkpoint_), .windows = windows}, journal, {});
  for (const std::string& part : part_names(plan.config))
    for (const SiteResult& site : journal.load(part).sites) {
      EXPECT_LT(site.report.correction, 1e-2) << site.name;
      EXPECT_LT(site.report.relative_error, 1e-2) << site.name;
    }
}

INSTANTIATE_TEST_SUITE_P(, Family, testing::ValuesIn(golden_variants()), variant_test_name);

}  // namespace
}  // namespace edgeq
