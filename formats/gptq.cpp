// SPDX-License-Identifier: Apache-2.0
#include "formats/gptq.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "core/bit_pack.h"
#include "core/error.h"
#include "core/half.h"
#include "core/parallel.h"

namespace edgeq {
namespace {

constexpr int64_t kTileRows = 64;  // rows whose words are transposed together: 256 bytes in a row of qweight

bool has_layout(int bits) { return bits == 2 || bits == 3 || bits == 4 || bits == 8; }

// 1 in every field of a word.
uint32_t ones(int bits) { return bits == 2 ? 0x55555555u : bits == 4 ? 0x11111111u : 0x01010101u; }

// From what version 1 stores to zero points, in place. Where fields tile a word, GPTQModel takes 1 from whole
// words when writing and adds it when reading, so that a zero point of 0 borrows from the field beside it and
// gives back: adding by word reads what it wrote, and differs from adding by field only then.
void add_one(std::vector<uint32_t>& words, int bits) {
  if (bits == 3) return;  // a field may lie in two words: added field by field after unpacking
  for (uint32_t& word : words) word += ones(bits);
}

// Fields of qzeros as they are stored, by group and row.
struct Zeros {
  std::vector<uint32_t> words;
  int64_t groups, rows, words_per_group;
  int bits;

  std::vector<uint8_t> group(int64_t g) const {
    std::vector<uint8_t> bytes(size_t(4 * words_per_group)), fields(static_cast<size_t>(rows));
    for (int64_t w = 0; w < words_per_group; ++w)
      store_word(words[size_t(g * words_per_group + w)], bytes.data(), std::ssize(bytes), w);
    unpack_bits(bytes, bits, fields);
    return fields;
  }
  bool all_equal(int field) const {
    for (int64_t g = 0; g < groups; ++g)
      for (const uint8_t found : group(g))
        if (found != field) return false;
    return true;
  }
};

// Zero points [rows, groups]; empty for a symmetric layer.
std::vector<uint8_t> read_zeros(const CodedLayer& layer, const GptqSettings& settings, int64_t groups) {
  const int64_t rows = layer.rows(), width = code_words(rows, settings.bits);
  Zeros stored{layer.words("qzeros", {groups, width}), groups, rows, width, settings.bits};
  const int mid = 1 << (settings.bits - 1), mask = 2 * mid - 1;
  if (settings.symmetric) {
    if (stored.all_equal(mid - 1) || stored.all_equal(mid)) return {};
    layer.refuse("qzeros",
                 fmt::format("has zero points other than {} (version 1) or {} (version 2) though the "
                             "config calls the weights symmetric",
                             mid - 1, mid));
  }
  const bool less_one = settings.version == GptqVersion::v1;
  if (less_one) add_one(stored.words, settings.bits);
  std::vector<uint8_t> zeros(size_t(rows * groups));
  for (int64_t g = 0; g < groups; ++g) {
    const std::vector<uint8_t> fields = stored.group(g);
    for (int64_t r = 0; r < rows; ++r) {
      const int field = fields[size_t(r)];
      zeros[size_t(r * groups + g)] = uint8_t(less_one && settings.bits == 3 ? (field + 1) & mask : field);
    }
  }
  return zeros;
}

LayerFrame read_frame(const CodedLayer& layer, const GptqSettings& settings) {
  if (!has_layout(settings.bits))
    layer.refuse("qweight", fmt::format("has {} bits; expected 2, 3, 4 or 8", settings.bits));
  const int64_t rows = layer.rows();
  ColumnGroups column_group = column_groups(layer, settings.group, "g_idx");
  const int64_t groups = column_group.count;
  GroupTables tables;
  const std::vector<float> scales = layer.floats("scales", {groups, rows});
  tables.scales.resize(scales.size());
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t r = 0; r < rows; ++r) tables.scales[size_t(r * groups + g)] = scales[size_t(g * rows + r)];
  tables.zeros = read_zeros(layer, settings, groups);
  layer.get("qweight", Encoding::i32, {code_words(layer.cols(), settings.bits), rows});
  return layer_frame(settings.bits, settings.group, std::move(column_group), std::move(tables));
}

// Calls body(row, word) for every 32-bit word of every row, a tile of rows at a time.
template <class Body>
void for_each_word(int64_t rows, int64_t words, const Body& body) {
  parallel_for((rows + kTileRows - 1) / kTileRows, [&](int64_t tile) {
    const int64_t end = std::min(rows, (tile + 1) * kTileRows);
    for (int64_t w = 0; w < words; ++w)
      for (int64_t r = tile * kTileRows; r < end; ++r) body(r, w);
  });
}

Tensor pack_weight(const QuantizedTensor& q) {
  const int64_t words = code_words(q.cols, q.scheme.bits), bytes = q.row_bytes();
  Tensor packed(DType::i32, {words, q.rows});
  auto* const out = reinterpret_cast<uint32_t*>(packed.data());
  for_each_word(q.rows, words, [&](int64_t r, int64_t w) {
    out[w * q.rows + r] = load_word(q.codes.data() + r * bytes, bytes, w);
  });
  return packed;
}

Tensor pack_zeros(const QuantizedTensor& q, GptqVersion version) {
  const int64_t words = code_words(q.rows, q.scheme.bits);
  Tensor packed(DType::i32, {q.groups(), words});
  std::vector<uint8_t> fields(size_t(q.rows)), bytes(size_t(4 * words));
  for (int64_t g = 0; g < q.groups(); ++g) {
    for (int64_t r = 0; r < q.rows; ++r) {
      const int zero = q.zero(r, g);
      if (version == GptqVersion::v1 && zero == 0)
        throw Error(fmt::format("row {} has a zero point of 0, which GPTQ version 1 cannot store", r))
            .set_hint("export as gptq-v2");
      fields[size_t(r)] = uint8_t(version == GptqVersion::v1 ? zero - 1 : zero);
    }
    std::ranges::fill(bytes, uint8_t(0));
    pack_bits(fields, q.scheme.bits, bytes);
    std::memcpy(packed.data() + g * 4 * words, bytes.data(), bytes.size());
  }
  return packed;
}

Tensor pack_scales(const QuantizedTensor& q) {
  Tensor packed(DType::f16, {q.groups(), q.rows});
  auto* const out = reinterpret_cast<uint16_t*>(packed.data());
  for (int64_t g = 0; g < q.groups(); ++g)
    for (int64_t r = 0; r < q.rows; ++r) out[g * q.rows + r] = f32_to_f16(q.scale(r, g));
  return packed;
}

Tensor group_index(const QuantizedTensor& q) {
  Tensor index(DType::i32, {q.cols});
  auto* const out = reinterpret_cast<int32_t*>(index.data());
  const int64_t group = q.scheme.group_size(q.cols);
  for (int64_t c = 0; c < q.cols; ++c) out[c] = int32_t(c / group);
  return index;
}

}  // namespace

QuantScheme gptq_scheme(const CodedLayer& layer, const GptqSettings& settings) {
  return read_frame(layer, settings).scheme;
}

QuantizedTensor read_gptq(const CodedLayer& layer, const GptqSettings& settings) {
  const LayerFrame frame = read_frame(layer, settings);
  QuantizedTensor q = without_codes(layer, frame);
  const int64_t words = code_words(q.cols, settings.bits), bytes = q.row_bytes();
  const std::byte* const packed = layer.get("qweight", Encoding::i32, {words, q.rows}).data;
  for_each_word(q.rows, words, [&](int64_t r, int64_t w) {
    uint32_t word = 0;
    std::memcpy(&word, packed + 4 * (w * q.rows + r), 4);
    store_word(word, q.codes.data() + r * bytes, bytes, w);
  });
  return q;
}

std::optional<std::string> gptq_obstacle(const QuantScheme& scheme, int64_t rows, int64_t cols) {
  constexpr std::array<int64_t, 7> kGroups = {16, 32, 64, 128, 256, 512, 1024};
  if (!has_layout(scheme.bits)) return fmt::format("GPTQ has no {}-bit codes", scheme.bits);
  if (scheme.zero == Zero::offset) return "GPTQ has integer zero points, not float offsets";
  if (scheme.levels != Levels::uniform) return "GPTQ has evenly spaced codes, no table of levels";
  if (scheme.store != ScaleStore::f16) return "GPTQ keeps scales in f16";
  if (scheme.group != 0 && std::ranges::find(kGroups, scheme.group) == kGroups.end())
    return fmt::format("GPTQ has groups of 16 to 1024 by powers of two, not of {}", scheme.group);
  for (const int64_t size : {rows, cols})
    if (size * scheme.bits % 32 != 0)
      return fmt::format("GPTQ packs {} into words of 32 bits; {} x {} bits are no whole number of them",
                         size == rows ? "rows" : "columns", size, scheme.bits);
  return std::nullopt;
}

std::vector<LayerTensor> write_gptq(const QuantizedTensor& weight, GptqVersion version) {
  if (const auto obstacle = gptq_obstacle(weight.scheme, weight.rows, weight.cols)) throw Error(*obstacle);
  std::vector<LayerTensor> layer;
  layer.push_back({"qweight", pack_weight(weight)});
  layer.push_back({"qzeros", pack_zeros(weight, version)});
  layer.push_back({"scales", pack_scales(weight)});
  layer.push_back({"g_idx", group_index(weight)});
  return layer;
}

}  // namespace edgeq
