// SPDX-License-Identifier: Apache-2.0
#include "formats/awq.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "core/error.h"
#include "core/half.h"
#include "core/parallel.h"

namespace edgeq {
namespace {

constexpr int kBits = 4;
constexpr int64_t kPerWord = 8;
constexpr std::array<int, 8> kOrder = {0, 2, 4, 6,
                                       1, 3, 5, 7};  // field k of a word is row kOrder[k] of its 8
constexpr int64_t kTileWords = 16;                   // 64 bytes of a row of qweight, 128 rows

uint32_t pack_word(const std::array<uint8_t, 8>& codes) {
  uint32_t word = 0;
  for (size_t k = 0; k < 8; ++k) word |= uint32_t(codes[size_t(kOrder[k])]) << (kBits * k);
  return word;
}

std::array<uint8_t, 8> unpack_word(uint32_t word) {
  std::array<uint8_t, 8> codes{};
  for (size_t k = 0; k < 8; ++k) codes[size_t(kOrder[k])] = uint8_t((word >> (kBits * k)) & 15);
  return codes;
}

int64_t word_columns(const CodedLayer& layer) {
  if (layer.rows() % kPerWord != 0)
    layer.refuse("qweight", fmt::format("packs rows by 8; the config calls for {} rows", layer.rows()));
  return layer.rows() / kPerWord;
}

LayerFrame read_frame(const CodedLayer& layer, int64_t group) {
  if (group != 0 && layer.cols() % group != 0)
    layer.refuse("scales",
                 fmt::format("has groups of {}, which do not divide {} columns", group, layer.cols()));
  const int64_t words = word_columns(layer), rows = layer.rows();
  ColumnGroups column_group = column_groups(layer, group, "g_idx");
  const int64_t groups = column_group.count;
  GroupTables tables;
  const std::vector<float> scales = layer.floats("scales", {groups, rows});
  const std::vector<uint32_t> zeros = layer.words("qzeros", {groups, words});
  tables.scales.resize(scales.size());
  tables.zeros.resize(scales.size());
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t r = 0; r < rows; ++r) {
      const auto to = size_t(r * groups + g);
      tables.scales[to] = scales[size_t(g * rows + r)];
      tables.zeros[to] = unpack_word(zeros[size_t(g * words + r / kPerWord)])[size_t(r % kPerWord)];
    }
  layer.get("qweight", Encoding::i32, {layer.cols(), words});
  return layer_frame(kBits, group, std::move(column_group), std::move(tables));
}

// Calls body(tile, first word, words): codes of a tile lie as [8 * words rows, cols].
template <class Body>
void for_each_tile(int64_t rows, int64_t cols, const Body& body) {
  const int64_t words = rows / kPerWord;
  parallel_for((words + kTileWords - 1) / kTileWords, [&](int64_t index) {
    const int64_t first = index * kTileWords, count = std::min(kTileWords, words - first);
    std::vector<uint8_t> tile(size_t(count * kPerWord * cols));
    body(tile, first, count);
  });
}

Tensor pack_weight(const QuantizedTensor& q) {
  const int64_t words = q.rows / kPerWord, cols = q.cols;
  Tensor packed(DType::i32, {cols, words});
  auto* const out = reinterpret_cast<uint32_t*>(packed.data());
  for_each_tile(q.rows, cols, [&](std::vector<uint8_t>& tile, int64_t first, int64_t count) {
    for (int64_t r = 0; r < count * kPerWord; ++r)
      q.get_codes(first * kPerWord + r, std::span(tile).subspan(size_t(r * cols), size_t(cols)));
    for (int64_t c = 0; c < cols; ++c)
      for (int64_t w = 0; w < count; ++w) {
        std::array<uint8_t, 8> codes{};
        for (int64_t i = 0; i < kPerWord; ++i) codes[size_t(i)] = tile[size_t((w * kPerWord + i) * cols + c)];
        out[c * words + first + w] = pack_word(codes);
      }
  });
  return packed;
}

void unpack_weight(const std::byte* packed, QuantizedTensor& q) {
  const int64_t words = q.rows / kPerWord, cols = q.cols;
  for_each_tile(q.rows, cols, [&](std::vector<uint8_t>& tile, int64_t first, int64_t count) {
    for (int64_t c = 0; c < cols; ++c)
      for (int64_t w = 0; w < count; ++w) {
        uint32_t word = 0;
        std::memcpy(&word, packed + 4 * (c * words + first + w), 4);
        const std::array<uint8_t, 8> codes = unpack_word(word);
        for (int64_t i = 0; i < kPerWord; ++i) tile[size_t((w * kPerWord + i) * cols + c)] = codes[size_t(i)];
      }
    for (int64_t r = 0; r < count * kPerWord; ++r)
      q.set_codes(first * kPerWord + r, std::span(tile).subspan(size_t(r * cols), size_t(cols)));
  });
}

}  // namespace

QuantScheme awq_scheme(const CodedLayer& layer, int64_t group) { return read_frame(layer, group).scheme; }

QuantizedTensor read_awq(const CodedLayer& layer, int64_t group) {
  const LayerFrame frame = read_frame(layer, group);
  QuantizedTensor q = without_codes(layer, frame);
  unpack_weight(layer.get("qweight", Encoding::i32, {q.cols, word_columns(layer)}).data, q);
  return q;
}

std::optional<std::string> awq_obstacle(const QuantScheme& scheme, int64_t rows) {
  constexpr std::array<int64_t, 4> kGroups = {16, 32, 64, 128};  // of GPTQModel's kernels
  if (scheme.bits != kBits) return fmt::format("AWQ has 4-bit codes, not {}-bit", scheme.bits);
  if (scheme.zero == Zero::offset) return "AWQ has integer zero points, not float offsets";
  if (scheme.levels != Levels::uniform) return "AWQ has evenly spaced codes, no table of levels";
  if (scheme.store != ScaleStore::f16) return "AWQ keeps scales in f16";
  if (rows % kPerWord != 0) return fmt::format("AWQ packs rows by 8; there are {}", rows);
  if (scheme.group != 0 && std::ranges::find(kGroups, scheme.group) == kGroups.end())
    return fmt::format("AWQ has groups of 16, 32, 64 or 128, not of {}", scheme.group);
  return std::nullopt;
}

std::vector<LayerTensor> write_awq(const QuantizedTensor& weight) {
  if (const auto obstacle = awq_obstacle(weight.scheme, weight.rows)) throw Error(*obstacle);
  const int64_t groups = weight.groups(), rows = weight.rows, words = rows / kPerWord;
  Tensor zeros(DType::i32, {groups, words}), scales(DType::f16, {groups, rows});
  auto* const zero_words = reinterpret_cast<uint32_t*>(zeros.data());
  auto* const halves = reinterpret_cast<uint16_t*>(scales.data());
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t r = 0; r < rows; ++r) halves[g * rows + r] = f32_to_f16(weight.scale(r, g));
    for (int64_t w = 0; w < words; ++w) {
      std::array<uint8_t, 8> fields{};
      for (int64_t i = 0; i < kPerWord; ++i) fields[size_t(i)] = uint8_t(weight.zero(w * kPerWord + i, g));
      zero_words[g * words + w] = pack_word(fields);
    }
  }
  std::vector<LayerTensor> layer;
  layer.push_back({"qweight", pack_weight(weight)});
  layer.push_back({"qzeros", std::move(zeros)});
  layer.push_back({"scales", std::move(scales)});
  return layer;
}

}  // namespace edgeq
