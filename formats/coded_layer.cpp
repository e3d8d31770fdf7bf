// SPDX-License-Identifier: Apache-2.0
#include "formats/coded_layer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/error.h"
#include "core/half.h"

namespace edgeq {

const EncodedTensor* CodedLayer::find(std::string_view part) const {
  return file_->find(fmt::format("{}.{}", module_, part));
}

void CodedLayer::refuse(std::string_view part, std::string_view what) const {
  throw Error(fmt::format("tensor {}.{} {}", module_, part, what));
}

const EncodedTensor& CodedLayer::get(std::string_view part, Encoding encoding, const Shape& shape) const {
  const EncodedTensor* tensor = find(part);
  if (tensor == nullptr) refuse(part, "is missing");
  if (tensor->encoding != encoding || tensor->shape != shape)
    refuse(part, fmt::format("is {} {}; expected {} {}", encoding_name(tensor->encoding),
                             shape_text(tensor->shape), encoding_name(encoding), shape_text(shape)));
  return *tensor;
}

std::vector<float> CodedLayer::floats(std::string_view part, const Shape& shape) const {
  const EncodedTensor* tensor = find(part);
  if (tensor == nullptr) refuse(part, "is missing");
  if (!is_plain(tensor->encoding) || !is_floating(plain_dtype(tensor->encoding)) || tensor->shape != shape)
    refuse(part, fmt::format("is {} {}; expected floats {}", encoding_name(tensor->encoding),
                             shape_text(tensor->shape), shape_text(shape)));
  const Tensor decoded = decode_tensor(*tensor);
  std::vector<float> values(decoded.f32(), decoded.f32() + decoded.size());
  for (size_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i]))
      refuse(part, fmt::format("has {} at element {}; expected finite numbers", values[i], i));
  return values;
}

std::vector<uint32_t> CodedLayer::words(std::string_view part, const Shape& shape) const {
  const EncodedTensor& tensor = get(part, Encoding::i32, shape);
  std::vector<uint32_t> words(size_t(tensor.bytes / 4));
  std::memcpy(words.data(), tensor.data, size_t(tensor.bytes));
  return words;
}

ColumnGroups column_groups(const CodedLayer& layer, int64_t group, std::string_view g_idx) {
  const int64_t cols = layer.cols(), size = group == 0 ? cols : group;
  ColumnGroups groups{.run = std::gcd(cols, size), .of_run = {}, .count = (cols + size - 1) / size};
  std::vector<uint32_t> group_of;
  if (layer.find(g_idx) != nullptr) {
    group_of = layer.words(g_idx, {cols});
    groups.run = cols;
    for (int64_t c = 0; c < cols; ++c) {
      const auto at = int32_t(group_of[size_t(c)]);
      if (at < 0 || at >= groups.count)
        layer.refuse(g_idx, fmt::format("puts column {} in group {}; there are {}", c, at, groups.count));
      if (c > 0 && group_of[size_t(c)] != group_of[size_t(c - 1)]) groups.run = std::gcd(groups.run, c);
    }
  }
  for (int64_t c = 0; c < cols; c += groups.run)
    groups.of_run.push_back(group_of.empty() ? c / size : int64_t(group_of[size_t(c)]));
  return groups;
}

LayerFrame layer_frame(int bits, int64_t group, ColumnGroups groups, GroupTables tables) {
  QuantScheme scheme{.bits = bits, .group = group == 0 && groups.of_run.size() == 1 ? 0 : groups.run};
  const auto is_mid = [&](uint8_t zero) { return zero == scheme.mid_code(); };
  scheme.zero = std::ranges::all_of(tables.zeros, is_mid) ? Zero::mid : Zero::integer;
  const bool exact = std::ranges::all_of(tables.scales, [](float s) { return round_to_f16(s) == s; });
  scheme.store = exact ? ScaleStore::f16 : ScaleStore::f32;
  return {scheme, std::move(groups), std::move(tables)};
}

QuantizedTensor without_codes(const CodedLayer& layer, const LayerFrame& frame) {
  QuantizedTensor q(frame.scheme, layer.rows(), layer.cols());
  const ColumnGroups& groups = frame.groups;
  for (int64_t r = 0; r < q.rows; ++r)
    for (int64_t g = 0; g < q.groups(); ++g) {
      const auto to = size_t(r * q.groups() + g), from = size_t(r * groups.count + groups.of_run[size_t(g)]);
      q.scales[to] = frame.tables.scales[from];
      if (q.scheme.zero == Zero::integer) q.zeros[to] = frame.tables.zeros[from];
    }
  return q;
}

int64_t code_words(int64_t count, int bits) { return (count * bits + 31) / 32; }

uint32_t load_word(const uint8_t* codes, int64_t bytes, int64_t word) {
  uint32_t value = 0;
  const int64_t end = std::min(bytes, 4 * word + 4);
  for (int64_t i = 4 * word; i < end; ++i) value |= uint32_t(codes[i]) << (8 * (i % 4));
  return value;
}

void store_word(uint32_t value, uint8_t* codes, int64_t bytes, int64_t word) {
  const int64_t end = std::min(bytes, 4 * word + 4);
  for (int64_t i = 4 * word; i < end; ++i) codes[i] = uint8_t(value >> (8 * (i % 4)));
}

}  // namespace edgeq
