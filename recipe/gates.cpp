// SPDX-License-Identifier: Apache-2.0
#include "recipe/gates.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/random.h"
#include "models/names.h"
#include "pruning/structure.h"
#include "recipe/backward_pass.h"
#include "recipe/budget.h"

namespace edgeq {
namespace {

constexpr char kPart[] = "gates";

// Sums of one window, to be added in the order of windows.
using WindowGates = std::array<GateMoments, 3>;

GateMoments moments_of(const Tensor& gates) {  // [tokens, units]
  GateMoments moments{std::vector<double>(size_t(gates.cols()), 0.0),
                      std::vector<double>(size_t(gates.cols()), 0.0)};
  for (int64_t u = 0; u < gates.cols(); ++u) {
    double sum = 0;
    for (int64_t t = 0; t < gates.rows(); ++t) {
      const double g = double(gates.matrix()(t, u));
      sum += g;
      moments.square[size_t(u)] += g * g;
    }
    moments.absolute[size_t(u)] = std::abs(sum);
  }
  return moments;
}

void add(GateMoments& to, const GateMoments& from, double absolute_scale, double square_scale) {
  to.absolute.resize(from.absolute.size());
  to.square.resize(from.square.size());
  for (size_t u = 0; u < from.absolute.size(); ++u) {
    to.absolute[u] += absolute_scale * from.absolute[u];
    to.square[u] += square_scale * from.square[u];
  }
}

int64_t index_of(const Block& block, std::string_view part) {
  const Site* site = find_site(block, part);
  EDGEQ_CHECK(site != nullptr, "every decoder block has o_proj and down_proj");
  return site - block.sites.data();
}

// The gates of one block in one window; leaving: the gradient of the stream behind it.
WindowGates gates_of(const BlockwiseModel& model, const Block& block, const Tensor& entering,
                     const Tensor& leaving, const BlockGradients& got) {
  WindowGates gates;
  const int64_t head_dim = model.config().layers[size_t(block.index)].head_dim;
  State state{.hidden = entering, .input = {}};
  model.enter(block, state);
  for (int s = 0; s < int(block.stages.size()); ++s) {
    for (const auto& [part, width, gate] :
         {std::tuple{"attn.o_proj", head_dim, 0}, std::tuple{"mlp.down_proj", int64_t(1), 1}}) {
      const int64_t site = index_of(block, part);
      if (std::ranges::count(block.stages[size_t(s)].sites, int(site)) == 0) continue;
      gates[size_t(gate)] =
          moments_of(gate_gradients(block.sites[size_t(site)].weight.matrix(), width,
                                    std::as_const(state.input).matrix(), got.sites[size_t(site)].matrix()));
    }
    model.step(block, s, state);
  }
  Tensor whole(DType::f32, {entering.rows(), 1});
  for (int64_t t = 0; t < entering.rows(); ++t) {
    double sum = 0;
    for (int64_t c = 0; c < entering.cols(); ++c)
      sum += double(leaving.matrix()(t, c)) *
             (double(std::as_const(state.hidden).matrix()(t, c)) - double(entering.matrix()(t, c)));
    whole.f32()[t] = float(sum);
  }
  gates[2] = moments_of(whole);
  return gates;
}

constexpr std::pair<const char*, GateMoments BlockGates::*> kKinds[] = {
    {"heads", &BlockGates::heads}, {"channels", &BlockGates::channels}, {"block", &BlockGates::block}};

void commit(const std::vector<BlockGates>& gates, Journal& journal) {
  PartResult result{.part = kPart};
  for (size_t b = 0; b < gates.size(); ++b)
    for (const auto& [kind, member] : kKinds) {
      const std::string name = layer_site(int64_t(b), kind);
      result.vectors.push_back(named_numbers(name + ".absolute", (gates[b].*member).absolute));
      result.vectors.push_back(named_numbers(name + ".square", (gates[b].*member).square));
    }
  journal.commit(result);
}

std::vector<BlockGates> load(const Journal& journal, size_t blocks) {
  const PartResult result = journal.load(kPart);
  if (result.vectors.size() != blocks * 6)
    throw Error(journal.folder() + ": the part gates does not hold every block");
  std::vector<BlockGates> gates(blocks);
  auto next = result.vectors.begin();
  const auto values = [&] { return numbers_of<double>((next++)->tensor); };
  for (BlockGates& block : gates)
    for (const auto& [kind, member] : kKinds) {
      (block.*member).absolute = values();
      (block.*member).square = values();
    }
  return gates;
}

}  // namespace

std::vector<BlockGates> measure_gates(const BlockwiseModel& model, const BackwardModel& backward,
                                      const Windows& all_windows, Loss loss, Journal& journal,
                                      const Progress& progress) {
  const size_t blocks = model.config().layers.size();
  if (journal.has(kPart)) return load(journal, blocks);
  Windows windows = all_windows;
  const int64_t count = std::min(windows.count(), kSensitivityWindows);
  windows.tokens.resize(size_t(count * windows.length));
  const Ends ends = model.ends();
  BackwardPass pass(model, backward, windows, ends, "gradients", progress);
  std::vector<Random> draws;
  for (int64_t w = 0; w < count; ++w) draws.emplace_back(uint64_t(w));
  pass.through_head(
      [&](int64_t w, int64_t first, MatrixView<float> logits) {
        if (loss == Loss::drawn) return drawn_token_gradient(logits, draws[size_t(w)]);
        std::vector<TokenId> next(size_t(logits.rows), -1);
        for (int64_t t = 0; t < logits.rows && first + t + 1 < windows.length; ++t)
          next[size_t(t)] = windows[w][size_t(first + t + 1)];
        next_token_gradient(logits, next);
      },
      {});
  std::vector<BlockGates> gates(blocks);
  for (size_t b = blocks; b-- > 0;) {
    const Block block = model.load(int(b));
    std::vector<WindowGates> of_windows(static_cast<size_t>(count));
    pass.through_block(block, [&](int64_t w, const Tensor& entering, const BlockGradients& got) {
      of_windows[size_t(w)] = gates_of(model, block, entering, pass.gradients()[size_t(w)], got);
    });
    for (const WindowGates& window : of_windows)
      for (size_t k = 0; k < window.size(); ++k)
        add(gates[b].*kKinds[k].second, window[k], 1 / double(count), 1 / double(std::ssize(windows.tokens)));
  }
  commit(gates, journal);
  return load(journal, blocks);  // rounded as a resumed run reads them
}

}  // namespace edgeq
