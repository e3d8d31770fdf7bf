// SPDX-License-Identifier: Apache-2.0
#include "distill/teacher_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <span>

#include "core/error.h"
#include "core/parallel.h"
#include "core/random.h"

namespace edgeq {
namespace {

struct Kept {
  TokenId id;
  double weight;
};

double row_mass(std::span<const float> row, int64_t number) {
  double mass = 0;
  for (const float value : row) mass += std::exp(double(value));
  if (!(std::abs(mass - 1) <= 1e-3))
    throw Error(fmt::format(
        "row {} of the teacher adds up to a probability of {:g}; expected 1: logarithms of probabilities",
        number, mass));
  return mass;
}

void likeliest_first(std::vector<Kept>& kept) {
  std::ranges::sort(kept, [](const Kept& a, const Kept& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
  });
}

std::vector<Kept> top_of(std::span<const float> row, int64_t k, double mass) {
  std::vector<float> values(row.begin(), row.end());
  std::nth_element(values.begin(), values.begin() + (k - 1), values.end(), std::greater<>());
  const float last = values[size_t(k - 1)];
  int64_t equal = k - std::count_if(values.begin(), values.begin() + k, [&](float v) { return v > last; });
  std::vector<Kept> kept;
  for (size_t v = 0; v < row.size(); ++v)
    if (row[v] > last || (row[v] == last && equal-- > 0))
      kept.push_back({TokenId(v), std::exp(double(row[v])) / mass});
  return kept;
}

// k independent draws: sorted positions in [0, mass) are met by one walk over the vocabulary.
std::vector<Kept> draws_of(std::span<const float> row, int64_t k, double mass, Random random) {
  std::vector<double> at(static_cast<size_t>(k));
  for (double& a : at) a = random.uniform() * mass;
  std::ranges::sort(at);
  std::vector<Kept> kept;
  double sum = 0;
  size_t next = 0;
  TokenId last = 0;  // of a probability above 0: rounding may leave a crumb at the end
  for (size_t v = 0; v < row.size() && next < at.size(); ++v) {
    const double p = std::exp(double(row[v]));
    if (p > 0) last = TokenId(v);
    sum += p;
    const size_t first = next;
    while (next < at.size() && at[next] < sum) ++next;
    if (next > first) kept.push_back({TokenId(v), double(next - first) / double(k)});
  }
  if (next < at.size()) {
    const double crumb = double(at.size() - next) / double(k);
    if (!kept.empty() && kept.back().id == last)
      kept.back().weight += crumb;
    else
      kept.push_back({last, crumb});
  }
  return kept;
}

}  // namespace

void check_form(const TeacherForm& form, int64_t vocab) {
  const int64_t most = form.kind == TeacherKind::top_k ? std::min<int64_t>(255, vocab) : 255;
  if (form.k < 1 || form.k > most)
    throw Error(fmt::format("{} {} a token; expected 1 to {}", form.k,
                            form.kind == TeacherKind::top_k ? "probabilities" : "draws", most));
}

std::string form_text(const TeacherForm& form) {
  return fmt::format("{} {}", form.kind == TeacherKind::top_k ? "top_k" : "samples", form.k);
}

TeacherRows reduce_rows(MatrixView<const float> log_probs, const TeacherForm& form, int64_t sequence) {
  check_form(form, log_probs.cols);
  const auto places = size_t(log_probs.rows * form.k);
  TeacherRows rows{.tokens = log_probs.rows,
                   .k = form.k,
                   .ids = std::vector<TokenId>(places),
                   .weights = std::vector<float>(places),
                   .tail = std::vector<float>(size_t(log_probs.rows))};
  const uint64_t seed = stream_seed(form.seed, uint64_t(sequence));
  parallel_for(log_probs.rows, [&](int64_t t) {
    const std::span row(log_probs.row(t), size_t(log_probs.cols));
    const double mass = row_mass(row, t);
    std::vector<Kept> kept = form.kind == TeacherKind::top_k
                                 ? top_of(row, form.k, mass)
                                 : draws_of(row, form.k, mass, Random(stream_seed(seed, uint64_t(t))));
    likeliest_first(kept);
    double sum = 0;
    for (size_t i = 0; i < kept.size(); ++i) {
      rows.ids[size_t(t * form.k) + i] = kept[i].id;
      rows.weights[size_t(t * form.k) + i] = float(kept[i].weight);
      sum += kept[i].weight;
    }
    rows.tail[size_t(t)] = form.kind == TeacherKind::top_k ? float(std::max(0.0, 1 - sum)) : 0.0F;
  });
  return rows;
}

TeacherLossMeter::TeacherLossMeter(int64_t vocab, const TeacherForm& form)
    : form_(form), difference_(size_t(vocab)), variance_(size_t(vocab)) {
  check_form(form, vocab);
}

void TeacherLossMeter::add(MatrixView<const float> log_probs, const TeacherRows& kept) {
  EDGEQ_CHECK(log_probs.cols == std::ssize(difference_) && log_probs.rows == kept.tokens,
              "rows are measured against those they were made of");
  std::vector<double> p(difference_.size());
  for (int64_t t = 0; t < kept.tokens; ++t) {
    double total = 0;
    for (size_t v = 0; v < p.size(); ++v) total += p[v] = std::exp(double(log_probs(t, int64_t(v))));
    for (size_t v = 0; v < p.size(); ++v) {
      p[v] /= total;
      variance_[v] += p[v] * (1 - p[v]) / double(form_.k);
    }
    const auto tail = double(kept.tail[size_t(t)]);
    double rest = 1;
    std::vector<double> lost = p;  // of p, outside of the kept ids
    for (int64_t i = t * kept.k; i < (t + 1) * kept.k; ++i) {
      const auto id = size_t(kept.ids[size_t(i)]);
      const auto weight = double(kept.weights[size_t(i)]);
      if (weight == 0) continue;
      sums_.divergence += weight * std::log(weight / p[id]);
      difference_[id] += weight - p[id];
      rest -= p[id];
      lost[id] = 0;
    }
    rest = std::max(rest, 0.0);
    if (tail > 0 && rest > 0) sums_.divergence += tail * std::log(tail / rest);
    const double share = rest > 0 ? tail / rest : 0;
    for (size_t v = 0; v < p.size(); ++v) difference_[v] += lost[v] * (share - 1);
    sums_.tail += rest;
    ++sums_.rows;
  }
}

TeacherLoss TeacherLossMeter::result() const {
  TeacherLoss loss = sums_;
  const auto rows = double(std::max<int64_t>(loss.rows, 1));
  loss.tail /= rows;
  loss.divergence /= rows;
  for (size_t v = 0; v < difference_.size(); ++v) {
    loss.bias += std::abs(difference_[v]) / rows / 2;
    loss.bias_of_noise += std::sqrt(variance_[v]) / rows / 2;
  }
  return loss;
}

}  // namespace edgeq
