// SPDX-License-Identifier: Apache-2.0
#include "models/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/interrupt.h"
#include "models/rotary_rows.h"
#include "models/sites.h"

namespace edgeq {
namespace {

constexpr int64_t kRows = 256;  // at a time: memory stays small for any table

constexpr std::string_view kSample =
    "In 1887 the engine's third cylinder cracked; nobody noticed, naïve as they were, until 4:30 p.m. on "
    "Tuesday.\n\n\tThe repair cost €12,340.50 \xe2\x80\x94 \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x98\x80 and  "
    "two  spaces.";

// Formats round epsilon and theta, leave out the name and cut the context, so only what fixes the tensors is
// compared; that the rest computes the same function is what running the file proves.
std::string shape_of(const ModelConfig& config) {
  std::string text = fmt::format("hidden {}, vocabulary {}, {} head", config.hidden, config.vocab,
                                 config.tied_head ? "tied" : "untied");
  for (const LayerShape& layer : config.layers)
    text +=
        fmt::format("; {} heads on {} of {}, ffn {}", layer.heads, layer.kv_heads, layer.head_dim, layer.ffn);
  return text;
}

void require_same_tokens(const Tokenizer& found, const Tokenizer& wanted) {
  if (found.encode(kSample) != wanted.encode(kSample)) throw Error("the tokenizer gives other ids");
  if (found.bos() != wanted.bos()) throw Error("the tokenizer begins texts with another token");
  if (found.adds_bos() != wanted.adds_bos())
    throw Error("the tokenizer disagrees about a token at the start");
  if (found.end_tokens() != wanted.end_tokens())
    throw Error("the tokenizer ends generations with other tokens");
  if (found.chat_template() != wanted.chat_template()) throw Error("the chat template differs");
}

void require_equal(const Tensor& found, const Tensor& wanted, std::string_view name, int64_t first_row) {
  if (found.size() != wanted.size()) throw Error(fmt::format("{} has another size", name));
  for (int64_t i = 0; i < found.size(); ++i)
    if (found.f32()[i] != wanted.f32()[i])
      throw Error(fmt::format("{} is {} at row {}, column {}; its codes mean {}", name, found.f32()[i],
                              first_row + i / found.cols(), i % found.cols(), wanted.f32()[i]));
}

// Mean |log norm - log norm| of row pairs that turn together when our rows are in order, and when they are
// not because the file's rows were never put in interleaved order.
struct PairDistance {
  double right = 0, wrong = 0;
  int64_t pairs = 0;
};

void add_pairs(const Tensor& weight, int64_t head_dim, PairDistance& distance) {
  std::vector<double> norm(size_t(weight.rows()));
  for (int64_t r = 0; r < weight.rows(); ++r) {
    double sum = 1e-20;
    for (int64_t c = 0; c < weight.cols(); ++c) sum += double(weight.matrix()(r, c)) * weight.matrix()(r, c);
    norm[size_t(r)] = 0.5 * std::log(sum);
  }
  const int64_t half = head_dim / 2;
  for (int64_t r = 0; r < weight.rows(); ++r) {
    if (r % head_dim >= half) continue;
    distance.right += std::abs(norm[size_t(r)] - norm[size_t(r + half)]);
    distance.wrong += std::abs(norm[size_t(half_split_row(r, head_dim))] -
                               norm[size_t(half_split_row(r + half, head_dim))]);
    ++distance.pairs;
  }
}

bool is_rotary(std::string_view site) {
  return site.ends_with("attn.q_proj") || site.ends_with("attn.k_proj");
}

int64_t dead_groups(const QuantizedTensor& q) {
  int64_t dead = 0;
  for (int64_t r = 0; r < q.rows; ++r)
    for (int64_t g = 0; g < q.groups(); ++g) dead += q.scale(r, g) == 0 && q.offset(r, g) == 0;
  return dead;
}

double cosine(const Tensor& a, const Tensor& b) {
  double ab = 0, aa = 0, bb = 0;
  for (int64_t i = 0; i < a.size(); ++i) {
    const double x = a.f32()[i], y = b.f32()[i];
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return aa == 0 || bb == 0 ? (aa == bb ? 1 : 0) : ab / std::sqrt(aa * bb);
}

// Mean of (w - reference) / scale: near a whole number where zero points are off by it.
double steps_off(const QuantizedTensor& q, const Tensor& w, const Tensor& reference) {
  double sum = 0;
  int64_t count = 0;
  const int64_t group = q.scheme.group_size(q.cols);
  for (int64_t r = 0; r < std::min<int64_t>(q.rows, kRows); ++r)
    for (int64_t c = 0; c < q.cols; ++c) {
      const float scale = q.scale(r, c / group);
      if (scale == 0) continue;
      sum += (double(w.matrix()(r, c)) - reference.matrix()(r, c)) / scale;
      ++count;
    }
  return count == 0 ? 0 : sum / double(count);
}

}  // namespace

void verify_equal(const Checkpoint& file, const CodedModel& expected) {
  with_context(file.path(), [&] {
    if (shape_of(file.config()) != shape_of(expected.config()))
      throw Error(fmt::format("the file's config describes another model: {}; expected {}",
                              shape_of(file.config()), shape_of(expected.config())));
    require_same_tokens(file.tokenizer(), expected.tokenizer());
    for (const SiteShape& site : all_sites(expected.config())) {
      check_interrupt();
      const CodedWeight weight = expected.weight(site.name);
      for (int64_t r = 0; r < site.rows; r += kRows) {
        const int64_t count = std::min(kRows, site.rows - r);
        require_equal(file.load_rows(site.name, r, count), dequantize(weight, r, count), site.name, r);
      }
    }
    for (const VectorShape& vector : all_vectors(expected.config()))
      require_equal(file.load(vector.name), expected.vector(vector.name), vector.name, 0);
  });
}

std::vector<std::string> diagnose(const Checkpoint& file) {
  std::vector<std::string> findings;
  const ModelConfig& config = file.config();
  const int64_t tokens = file.tokenizer().vocab_size();
  if (tokens > config.vocab)
    findings.push_back(
        fmt::format("the tokenizer has {} tokens and the embedding {} rows", tokens, config.vocab));
  PairDistance pairs;
  for (const SiteShape& site : all_sites(config)) {
    check_interrupt();
    if (const auto codes = file.codes(site.name)) {
      const int64_t dead = dead_groups(*codes), groups = codes->rows * codes->groups();
      if (dead != 0)
        findings.push_back(fmt::format("{}: {} of {} groups have a scale of 0: their weights are all 0",
                                       site.name, dead, groups));
    }
    for (int64_t r = 0; r < site.rows; r += kRows) {
      const Tensor rows = file.load_rows(site.name, r, std::min(kRows, site.rows - r));
      if (!std::all_of(rows.f32(), rows.f32() + rows.size(), [](float w) { return std::isfinite(w); }))
        throw Error(fmt::format("{}: {} holds a weight that is no finite number", file.path(), site.name));
    }
    if (is_rotary(site.name)) add_pairs(file.load(site.name), config.layers[0].head_dim, pairs);
  }
  // Between them lies a wide gap in trained models; random weights have a ratio of 1.
  constexpr double kClearlyCloser = 0.8;
  if (pairs.pairs != 0 && pairs.wrong < kClearlyCloser * pairs.right)
    findings.push_back(
        fmt::format("rows of q and k seem to lie in the wrong rotary order: norms of rows that turn together "
                    "differ by {:.3f}, "
                    "in the other order by {:.3f}; was the permutation for llama.cpp left out or done twice? "
                    "compare with "
                    "--against the original to be sure",
                    pairs.right / double(pairs.pairs), pairs.wrong / double(pairs.pairs)));
  return findings;
}

std::vector<std::string> diagnose_against(const Checkpoint& file, const Checkpoint& reference) {
  const auto same_layer = [](const LayerShape& a, const LayerShape& b) {
    return a.heads == b.heads && a.kv_heads == b.kv_heads && a.head_dim == b.head_dim && a.ffn == b.ffn;
  };
  const ModelConfig &ours = file.config(), &theirs = reference.config();
  if (!std::ranges::equal(ours.layers, theirs.layers, same_layer) || ours.hidden != theirs.hidden ||
      ours.vocab != theirs.vocab)
    throw Error(fmt::format("{} and {} are models of different shapes", file.path(), reference.path()));
  std::vector<std::string> findings;
  if (file.tokenizer().encode(kSample) != reference.tokenizer().encode(kSample))
    findings.emplace_back("the tokenizers give different ids for the same text");
  if (file.config().tied_head != reference.config().tied_head)
    findings.push_back(fmt::format("the head is {} here and {} in the reference",
                                   file.config().tied_head ? "the embedding" : "a weight of its own",
                                   reference.config().tied_head ? "the embedding" : "a weight of its own"));
  constexpr double kSameWeights = 0.5, kOffByOne = 0.1;
  for (const SiteShape& site : all_sites(file.config())) {
    check_interrupt();
    if (!reference.has(site.name)) continue;
    const int64_t count = is_rotary(site.name) ? site.rows : std::min(kRows, site.rows);
    const Tensor w = file.load_rows(site.name, 0, count), r = reference.load_rows(site.name, 0, count);
    const double alike = cosine(w, r);
    if (alike < kSameWeights && is_rotary(site.name)) {
      const int64_t head_dim = file.config().layers[0].head_dim;
      if (cosine(to_interleaved(w, head_dim), r) > kSameWeights ||
          cosine(w, to_interleaved(r, head_dim)) > kSameWeights) {
        findings.push_back(
            fmt::format("{}: its rows are the reference's in the other rotary order", site.name));
        continue;
      }
    }
    if (const auto codes = file.codes(site.name)) {
      const double off = steps_off(*codes, w, r);
      if (std::abs(std::abs(off) - 1) < kOffByOne) {
        findings.push_back(
            fmt::format("{}: every weight is one step of its grid too {}: zero points of the wrong version "
                        "(GPTQ v1 or v2)",
                        site.name, off > 0 ? "high" : "low"));
        continue;
      }
    }
    if (alike < kSameWeights)
      findings.push_back(
          fmt::format("{}: has little to do with the reference (cosine {:.3f})", site.name, alike));
  }
  return findings;
}

}  // namespace edgeq
