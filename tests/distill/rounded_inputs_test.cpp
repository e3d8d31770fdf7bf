// SPDX-License-Identifier: Apache-2.0
// Training with rounded inputs, held against the integer kernels that run what it wrote.
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>

#include "distill/network.h"
#include "distill/trained_model.h"
#include "distill/trainer.h"
#include "models/import.h"
#include "models/round_inputs.h"
#include "models/target.h"
#include "quantizers/registry.h"
#include "runtime/runtime.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

constexpr int64_t kTokens = 48;

// One document of the repository's own model's text.
std::vector<Sequence> some_text(const Checkpoint& model, int64_t count) {
  const std::string text =
      read_text_file(std::string(EDGEQ_SOURCE_DIR) + "/configs/models/tiny-llama/calibration.txt");
  const std::vector<TokenId> tokens = model.tokenizer().encode(text.substr(0, 20000));
  std::vector<Sequence> all(static_cast<size_t>(count));
  for (size_t s = 0; s < all.size(); ++s) {
    all[s].documents = {0};
    all[s].tokens.assign(tokens.begin() + int64_t(s) * kTokens, tokens.begin() + int64_t(s + 1) * kTokens);
    all[s].learned.assign(size_t(kTokens), 1);
    all[s].learned[0] = 0;
  }
  return all;
}

Codes codes_of(const FloatModel& model) {
  Codes codes;
  for (const Block& block : model.blocks)
    for (const Site& site : block.sites)
      codes.emplace(site.name, make_quantizer("rtn", parse_scheme("int8-channel-sym"), {})
                                   ->quantize(site.weight.matrix(), {})
                                   .weight);
  return codes;
}

// Logits of a sequence as training computes them: [tokens, vocab].
at::Tensor forward(FloatModel& model, const Sequence& sequence, const InputRounding& inputs) {
  const c10::AutoGradMode off(false);
  std::vector<at::Tensor> tensors;
  for (const Parameter& parameter : parameters_of(model)) tensors.push_back(view_of(*parameter.values));
  const Weights weights = weights_of(model, tensors, Arithmetic::f32, inputs);
  const Network network(model.config);
  at::Tensor hidden = network.embed(weights, sequence);
  for (int64_t l = 0; l < std::ssize(model.blocks); ++l) hidden = network.block(weights, l, hidden, sequence);
  return network.logits(weights, hidden);
}

// Root mean square of the difference as a share of that of the logits.
double distance(const at::Tensor& logits, MatrixView<const float> other) {
  const auto cells = logits.accessor<float, 2>();
  double difference = 0, size = 0;
  for (int64_t t = 0; t < other.rows; ++t)
    for (int64_t v = 0; v < other.cols; ++v) {
      difference += std::pow(double(cells[t][v]) - double(other(t, v)), 2);
      size += std::pow(double(other(t, v)), 2);
    }
  return std::sqrt(difference / size);
}

class RoundedInputs : public testing::TestWithParam<Activations> {};

// Sums in another order move an input across the middle between two codes now and then, and what follows
// reads a step more or less of it: measured 0.0003 per block and 0.0029 per token, whose steps are larger.
// Inputs that stay floats are 0.0070 and 0.0134 away, those of the other rounding 0.0154 and 0.0133.
constexpr double kSameRounding = 0.004;

TEST_P(RoundedInputs, AreWhatTheRuntimeOfTheWrittenFileMultiplies) {
  const TempDir dir;
  const std::shared_ptr<const Checkpoint> tiny =
      open_checkpoint(std::string(EDGEQ_SOURCE_DIR) + "/configs/models/tiny-llama");
  FloatModel student = load_float_model(*tiny), teacher = student;
  Codes codes = codes_of(student);
  const std::vector<Sequence> text = some_text(*tiny, 4);
  const TrainSpec spec{.losses = {{.kind = LossKind::forward_kl}},
                       .tokens = 3 * 2 * kTokens,
                       .batch = 2,
                       .arithmetic = Arithmetic::f32};
  std::filesystem::create_directories(dir.file("work"));
  const TrainReport report = train({.spec = spec,
                                    .student = student,
                                    .teacher = &teacher,
                                    .common_vocab = tiny->config().vocab,
                                    .adapters = {},
                                    .codes = &codes,
                                    .inputs = GetParam(),
                                    .train = text,
                                    .held_out = {},
                                    .folder = dir.file("work"),
                                    .key = "key"},
                                   {});
  ASSERT_EQ(report.losses.at(0).size(), 3U);
  InputRounding inputs{.activations = GetParam()};
  for (const auto& [site, q] : codes) inputs.sites.insert(site);

  const TrainedModel trained(student, codes, GetParam(), tiny, "{}");
  const std::string file = dir.file("student.packed");
  parse_target("packed")->write(trained, file, OutputFile::Existing::refuse);
  const auto model = open_packed_runtime(file, {.threads = 1});
  const auto session = model->start({.max_tokens = kTokens});
  const MatrixView<const float> logits = session->feed(text[0].tokens, Logits::all);

  EXPECT_LT(distance(forward(student, text[0], inputs), logits), kSameRounding);
  EXPECT_GT(distance(forward(student, text[0], {}), logits), 1.5 * kSameRounding)
      << "inputs were not rounded";
  inputs.activations =
      GetParam() == Activations::int8_token ? Activations::int8_block : Activations::int8_token;
  EXPECT_GT(distance(forward(student, text[0], inputs), logits), 1.5 * kSameRounding) << "another rounding";
}

TEST_P(RoundedInputs, LetGradientsPassAsIfTheyWereNotRounded) {
  const at::Tensor x = at::randn({5, 64}).requires_grad_(true), weight = at::randn({7, 64});
  const at::Tensor arriving = at::randn({5, 7});
  const at::Tensor y = linear(x, {.weight = weight, .bias = {}, .inputs = GetParam()});
  y.backward(arriving);
  EXPECT_LT((x.grad() - at::mm(arriving, weight)).abs().max().item<double>(), 1e-4);
  at::Tensor rounded = x.detach().clone();
  round_inputs({rounded.data_ptr<float>(), 5, 64}, GetParam());
  EXPECT_TRUE(at::equal(rounded_inputs(x, GetParam()), rounded))
      << "the value is the rounded one, bit for bit";
  EXPECT_FALSE(at::equal(rounded, x));
}

INSTANTIATE_TEST_SUITE_P(All, RoundedInputs,
                         testing::Values(Activations::int8_block, Activations::int8_token),
                         [](const auto& info) { return std::string(activations_text(info.param)); });

}  // namespace
}  // namespace edgeq
