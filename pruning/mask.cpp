// SPDX-License-Identifier: Apache-2.0
#include "pruning/mask.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "core/text.h"
#include "quantizers/feedback.h"

namespace edgeq {
namespace {

constexpr int64_t kBlock = 128;  // columns of which SparseGPT takes a share together
constexpr double kDamping = 0.01;

// Marks the `count` least of `values`, of equal ones the first.
std::vector<bool> least(std::span<const double> values, int64_t count) {
  std::vector<int64_t> order(values.size());
  std::iota(order.begin(), order.end(), int64_t(0));
  const auto before = [&](int64_t a, int64_t b) {
    const double x = values[size_t(a)], y = values[size_t(b)];
    return x < y || (x == y && a < b);
  };
  if (count < std::ssize(order)) std::nth_element(order.begin(), order.begin() + count, order.end(), before);
  std::vector<bool> marked(values.size(), false);
  for (int64_t i = 0; i < count; ++i) marked[size_t(order[size_t(i)])] = true;
  return marked;
}

int64_t zeros_of(const Sparsity& sparsity, int64_t values) {
  return sparsity.of != 0 ? sparsity.of - sparsity.kept : std::llround(sparsity.share * double(values));
}

template <class Value>
void mask_rows(MatrixView<float> weight, const Sparsity& sparsity, Value value) {
  const int64_t run = sparsity.of != 0 ? sparsity.of : weight.cols;
  parallel_for(weight.rows, [&](int64_t r) {
    float* row = weight.row(r);
    std::vector<double> values(size_t(run), 0.0);
    for (int64_t first = 0; first < weight.cols; first += run) {
      for (int64_t c = 0; c < run; ++c) values[size_t(c)] = value(row[first + c], first + c);
      const std::vector<bool> zero = least(values, zeros_of(sparsity, run));
      for (int64_t c = 0; c < run; ++c)
        if (zero[size_t(c)]) row[first + c] = 0;
    }
  });
}

void magnitude(MatrixView<float> weight, const InputStats&, const Sparsity& sparsity) {
  mask_rows(weight, sparsity, [](float w, int64_t) { return std::abs(double(w)); });
}

void wanda(MatrixView<float> weight, const InputStats& inputs, const Sparsity& sparsity) {
  const float* square = inputs.square_mean.f32();
  mask_rows(weight, sparsity,
            [&](float w, int64_t c) { return std::abs(double(w)) * std::sqrt(double(square[c])); });
}

class SparseGpt {
 public:
  SparseGpt(MatrixView<float> weight, const InputStats& inputs, const Sparsity& sparsity)
      : weight_(weight),
        sparsity_(sparsity),
        feedback_(make_feedback(inputs.hessian.matrix(), {weight.cols, weight.cols}, ColumnOrder::none,
                                kDamping)) {}

  void run() {
    for (int64_t r = 0; r < weight_.rows; ++r)
      for (int64_t c = 0; c < weight_.cols; ++c)
        if (feedback_.dead[size_t(c)]) weight_.row(r)[c] = 0;
    if (sparsity_.of != 0) {
      parallel_for(weight_.rows, [&](int64_t r) { mask_pattern(weight_.row(r)); });
      return;
    }
    for (int64_t first = 0; first < weight_.cols; first += kBlock)
      mask_block(first, std::min(kBlock, weight_.cols - first));
  }

 private:
  double cost(float w, int64_t c) const {
    const double e = double(w) / double(feedback_.upper.matrix()(c, c));
    return e * e;
  }

  void remove(float* row, int64_t c) const {
    const auto upper = feedback_.upper.matrix();
    const float step = row[c] / upper(c, c);
    row[c] = 0;
    if (step == 0) return;
    const float* u = upper.row(c);
    for (int64_t k = c + 1; k < weight_.cols; ++k)
      if (!feedback_.dead[size_t(k)]) row[k] -= step * u[k];
  }

  void mask_block(int64_t first, int64_t count) {
    std::vector<double> costs;
    costs.reserve(size_t(weight_.rows * count));
    for (int64_t r = 0; r < weight_.rows; ++r)
      for (int64_t c = first; c < first + count; ++c) costs.push_back(cost(weight_(r, c), c));
    const std::vector<bool> zero = least(costs, zeros_of(sparsity_, std::ssize(costs)));
    parallel_for(weight_.rows, [&](int64_t r) {
      for (int64_t c = 0; c < count; ++c)
        if (zero[size_t(r * count + c)]) remove(weight_.row(r), first + c);
    });
  }

  void mask_pattern(float* row) const {
    std::vector<double> costs(size_t(sparsity_.of), 0.0);
    for (int64_t first = 0; first < weight_.cols; first += sparsity_.of) {
      for (int64_t k = 0; k < sparsity_.of; ++k) costs[size_t(k)] = cost(row[first + k], first + k);
      const std::vector<bool> zero = least(costs, zeros_of(sparsity_, sparsity_.of));
      for (int64_t k = 0; k < sparsity_.of; ++k)
        if (zero[size_t(k)]) remove(row, first + k);
    }
  }

  MatrixView<float> weight_;
  Sparsity sparsity_;
  Feedback feedback_;
};

void sparsegpt(MatrixView<float> weight, const InputStats& inputs, const Sparsity& sparsity) {
  SparseGpt(weight, inputs, sparsity).run();
}

constexpr MaskEntry kMethods[] = {
    {"sparsegpt", "zeros that the columns behind make up for (SparseGPT)", kNeedHessian, sparsegpt},
    {"wanda", "weights times the size of their inputs, row by row (Wanda)", kNeedMoments, wanda},
    {"magnitude", "the smallest weights of each row; needs no text", kNeedNothing, magnitude},
};

template <class Number>
std::optional<Number> number(std::string_view text) {
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

Sparsity parse_share(std::string_view text) {
  const auto share = number<double>(text);
  if (!share || !(*share > 0 && *share < 1))
    throw Error(fmt::format("sparsity is \"{}\"; expected a share of zeros above 0 and below 1", text));
  return {.share = *share};
}

Sparsity parse_pattern(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon != std::string_view::npos) {
    const auto kept = number<int64_t>(text.substr(0, colon)), of = number<int64_t>(text.substr(colon + 1));
    if (kept && of && *kept >= 1 && *kept < *of) return {.kept = *kept, .of = *of};
  }
  throw Error(fmt::format("pattern is \"{}\"; expected n:m, n weights kept of every m, such as 2:4", text));
}

std::string sparsity_text(const Sparsity& sparsity) {
  return sparsity.of != 0 ? fmt::format("{}:{}", sparsity.kept, sparsity.of)
                          : fmt::format("{}", sparsity.share);
}

void check_columns(const Sparsity& sparsity, int64_t columns) {
  if (sparsity.of != 0 && columns % sparsity.of != 0)
    throw Error(fmt::format("{} does not divide {} columns", sparsity_text(sparsity), columns));
}

std::span<const MaskEntry> mask_methods() { return kMethods; }

const MaskEntry& mask_method(std::string_view name) {
  std::vector<std::string> known;
  for (const MaskEntry& entry : kMethods) {
    if (entry.name == name) return entry;
    known.emplace_back(entry.name);
  }
  Error error(fmt::format("unknown mask \"{}\"; expected one of {}", name, fmt::join(known, ", ")));
  if (const auto meant = nearest_name(name, known)) error.set_hint(fmt::format("did you mean {}?", *meant));
  throw error;
}

void mask_weight(const MaskEntry& method, MatrixView<float> weight, const InputStats& inputs,
                 const Sparsity& sparsity) {
  check_columns(sparsity, weight.cols);
  method.apply(weight, inputs, sparsity);
}

}  // namespace edgeq
