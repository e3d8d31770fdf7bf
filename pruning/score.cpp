// SPDX-License-Identifier: Apache-2.0
#include "pruning/score.h"

#include <cblas.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <functional>
#include <string>

#include "calibration/blas.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/text.h"
#include "pruning/elimination.h"

namespace edgeq {
namespace {

// sum over the unit's columns of |W_j|^2 * factor(j).
template <class Factor>
std::vector<double> column_energy(const UnitFacts& facts, Factor factor) {
  std::vector<double> scores(size_t(facts.units()), 0.0);
  for (int64_t r = 0; r < facts.reader.rows; ++r)
    for (int64_t c = 0; c < facts.reader.cols; ++c) {
      const double w = double(facts.reader(r, c));
      scores[size_t(c / facts.width)] += w * w * factor(c);
    }
  return scores;
}

std::vector<double> magnitude(const UnitFacts& facts) {
  std::vector<double> scores = column_energy(facts, [](int64_t) { return 1.0; });
  for (const auto& maker : facts.makers) {
    const int64_t rows = maker.rows / facts.units();
    for (int64_t r = 0; r < maker.rows; ++r)
      for (int64_t c = 0; c < maker.cols; ++c)
        scores[size_t(r / rows)] += double(maker(r, c)) * double(maker(r, c));
  }
  return scores;
}

std::vector<double> wanda(const UnitFacts& facts) {
  const float* square = facts.inputs->square_mean.f32();
  return column_energy(facts, [&](int64_t c) { return double(square[c]); });
}

std::vector<double> flap(const UnitFacts& facts) {
  const float *square = facts.inputs->square_mean.f32(), *mean = facts.inputs->mean.f32();
  return column_energy(facts,
                       [&](int64_t c) { return double(square[c]) - double(mean[c]) * double(mean[c]); });
}

std::vector<double> gate(const UnitFacts& facts) { return facts.gates->absolute; }
std::vector<double> taylor(const UnitFacts& facts) { return facts.gates->square; }

std::vector<double> obs(const UnitFacts& facts) {
  return Elimination(facts.reader, facts.inputs->hessian.matrix(), facts.width).costs();
}

constexpr ScoreEntry kScores[] = {
    {"obs",
     "what least squares over the other columns cannot make up for, one unit after another (OBS, ZipLM)",
     true, false, kNeedHessian, Loss::none, obs, true},
    {"taylor",
     "divergence to second order when a gate on the unit closes (Fisher information); also of blocks", true,
     true, kNeedNothing, Loss::drawn, taylor, false},
    {"gate", "gradient of the text's loss at a gate on the unit (Michel et al.)", true, false, kNeedNothing,
     Loss::text, gate, false},
    {"flap", "weights times the variance of their inputs (FLAP)", true, false, kNeedMoments, Loss::none, flap,
     false},
    {"wanda", "weights times the mean square of their inputs (Wanda, structured)", true, false, kNeedMoments,
     Loss::none, wanda, false},
    {"magnitude", "sum of squared weights; the model decides without text", true, false, kNeedNothing,
     Loss::none, magnitude, false},
    {"influence", "of blocks: how far they turn the residual stream (ShortGPT)", false, true, kNeedNothing,
     Loss::none, nullptr, false},
};

const ScoreEntry& entry_of(std::string_view name, std::string_view of, bool ScoreEntry::*fits) {
  std::vector<std::string> known;
  for (const ScoreEntry& entry : kScores) {
    if (!(entry.*fits)) continue;
    if (entry.name == name) return entry;
    known.emplace_back(entry.name);
  }
  Error error(
      fmt::format("unknown score \"{}\" of {}; expected one of {}", name, of, fmt::join(known, ", ")));
  if (const auto meant = nearest_name(name, known)) error.set_hint(fmt::format("did you mean {}?", *meant));
  throw error;
}

}  // namespace

std::span<const ScoreEntry> scores() { return kScores; }
const ScoreEntry& unit_score(std::string_view name) {
  return entry_of(name, "heads and channels", &ScoreEntry::of_units);
}
const ScoreEntry& block_score(std::string_view name) {
  return entry_of(name, "blocks", &ScoreEntry::of_blocks);
}

Tensor gate_gradients(MatrixView<const float> reader, int64_t width, MatrixView<const float> x,
                      MatrixView<const float> gradient) {
  EDGEQ_CHECK(x.rows == gradient.rows && x.cols == reader.cols && gradient.cols == reader.rows,
              "inputs and output gradients of the reader");
  Tensor back(DType::f32, {x.rows, x.cols});  // the gradient at the inputs
  const OneBlasThread one_blas_thread;
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, int(x.rows), int(x.cols), int(reader.rows), 1,
              gradient.data, int(gradient.stride), reader.data, int(reader.stride), 0, back.f32(),
              int(x.cols));
  Tensor gates(DType::f32, {x.rows, x.cols / width});
  for (int64_t t = 0; t < x.rows; ++t)
    for (int64_t u = 0; u < gates.cols(); ++u) {
      double sum = 0;
      for (int64_t c = u * width; c < (u + 1) * width; ++c)
        sum += double(back.matrix()(t, c)) * double(x(t, c));
      gates.matrix()(t, u) = float(sum);
    }
  return gates;
}

}  // namespace edgeq
