// SPDX-License-Identifier: Apache-2.0
#include "formats/compressed_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/bit_pack.h"
#include "core/error.h"
#include "core/half.h"
#include "core/parallel.h"

namespace edgeq {
namespace {

bool has_layout(int bits) { return bits == 2 || bits == 4 || bits == 8; }

// i8 to codes and back: q + 2^(bits-1).
uint8_t code_of(const CodedLayer& layer, std::string_view part, std::byte stored, int bits) {
  const int mid = 1 << (bits - 1), code = int(int8_t(stored)) + mid;
  if (code < 0 || code >= 2 * mid)
    layer.refuse(part, fmt::format("has {}; {}-bit codes are {} to {}", code - mid, bits, -mid, mid - 1));
  return uint8_t(code);
}

std::vector<uint8_t> read_packed_zeros(const CodedLayer& layer, int bits, int64_t groups) {
  const int64_t rows = layer.rows(), words = code_words(rows, bits);
  const std::vector<uint32_t> packed = layer.words("weight_zero_point", {words, groups});
  std::vector<uint8_t> zeros(size_t(rows * groups)), bytes(size_t(4 * words)),
      fields(static_cast<size_t>(rows));
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t w = 0; w < words; ++w)
      store_word(packed[size_t(w * groups + g)], bytes.data(), std::ssize(bytes), w);
    unpack_bits(bytes, bits, fields);
    for (int64_t r = 0; r < rows; ++r) zeros[size_t(r * groups + g)] = fields[size_t(r)];
  }
  return zeros;
}

std::vector<uint8_t> read_zeros(const CodedLayer& layer, const CompressedSettings& settings, int64_t groups) {
  if (settings.symmetric) return {};
  if (settings.format == CompressedFormat::pack_quantized)
    return read_packed_zeros(layer, settings.bits, groups);
  const EncodedTensor& stored = layer.get("weight_zero_point", Encoding::i8, {layer.rows(), groups});
  std::vector<uint8_t> zeros(size_t(stored.bytes));
  for (size_t i = 0; i < zeros.size(); ++i)
    zeros[i] = code_of(layer, "weight_zero_point", stored.data[i], settings.bits);
  return zeros;
}

void check_weight_shape(const CodedLayer& layer) {
  const EncodedTensor& stored = layer.get("weight_shape", Encoding::i64, {2});
  int64_t shape[2] = {};
  std::memcpy(shape, stored.data, sizeof shape);
  if (shape[0] != layer.rows() || shape[1] != layer.cols())
    layer.refuse("weight_shape",
                 fmt::format("is {}; the config calls for {}", shape_text({shape[0], shape[1]}),
                             shape_text({layer.rows(), layer.cols()})));
}

LayerFrame read_frame(const CodedLayer& layer, const CompressedSettings& settings) {
  const bool packed = settings.format == CompressedFormat::pack_quantized;
  const std::string_view part = packed ? "weight_packed" : "weight";
  if (!has_layout(settings.bits))
    layer.refuse(part, fmt::format("has {} bits; expected 2, 4 or 8", settings.bits));
  // First, so that no table is larger than the file.
  if (packed) {
    check_weight_shape(layer);
    layer.get(part, Encoding::i32, {layer.rows(), code_words(layer.cols(), settings.bits)});
  } else {
    layer.get(part, Encoding::i8, {layer.rows(), layer.cols()});
  }
  if (settings.group != 0 && layer.cols() % settings.group != 0)
    layer.refuse("weight_scale", fmt::format("has groups of {}, which do not divide {} columns",
                                             settings.group, layer.cols()));
  ColumnGroups groups = column_groups(layer, settings.group, "weight_g_idx");
  GroupTables tables;
  const EncodedTensor* scale = layer.find("weight_scale");
  if (settings.group == 0 && scale != nullptr && scale->shape == Shape{1}) {
    tables.scales.assign(size_t(layer.rows()), layer.floats("weight_scale", {1})[0]);
  } else {
    tables.scales = layer.floats("weight_scale", {layer.rows(), groups.count});
  }
  tables.zeros = read_zeros(layer, settings, groups.count);
  return layer_frame(settings.bits, settings.group, std::move(groups), std::move(tables));
}

Tensor pack_words(const QuantizedTensor& q) {
  const int64_t words = code_words(q.cols, q.scheme.bits), bytes = q.row_bytes();
  Tensor packed(DType::i32, {q.rows, words});
  for (int64_t r = 0; r < q.rows; ++r)
    std::memcpy(packed.data() + 4 * r * words, q.codes.data() + r * bytes, size_t(bytes));
  return packed;
}

Tensor pack_zeros(const QuantizedTensor& q) {
  const int64_t words = code_words(q.rows, q.scheme.bits), groups = q.groups();
  Tensor packed(DType::i32, {words, groups});
  auto* const out = reinterpret_cast<uint32_t*>(packed.data());
  std::vector<uint8_t> fields(size_t(q.rows)), bytes(size_t(4 * words));
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t r = 0; r < q.rows; ++r) fields[size_t(r)] = uint8_t(q.zero(r, g));
    std::ranges::fill(bytes, uint8_t(0));
    pack_bits(fields, q.scheme.bits, bytes);
    for (int64_t w = 0; w < words; ++w) out[w * groups + g] = load_word(bytes.data(), std::ssize(bytes), w);
  }
  return packed;
}

Tensor signed_codes(const QuantizedTensor& q) {
  Tensor stored(DType::i8, {q.rows, q.cols});
  std::vector<uint8_t> codes(static_cast<size_t>(q.cols));
  for (int64_t r = 0; r < q.rows; ++r) {
    q.get_codes(r, codes);
    for (int64_t c = 0; c < q.cols; ++c)
      stored.data()[r * q.cols + c] = std::byte(uint8_t(codes[size_t(c)] - q.scheme.mid_code()));
  }
  return stored;
}

Tensor scale_table(const QuantizedTensor& q) {
  Tensor scales(DType::f32, {q.rows, q.groups()});
  for (int64_t r = 0; r < q.rows; ++r)
    for (int64_t g = 0; g < q.groups(); ++g) scales.matrix()(r, g) = q.scale(r, g);
  return q.scheme.store == ScaleStore::f16 ? from_f32(scales, DType::f16) : scales;
}

}  // namespace

QuantScheme compressed_scheme(const CodedLayer& layer, const CompressedSettings& settings) {
  return read_frame(layer, settings).scheme;
}

QuantizedTensor read_compressed(const CodedLayer& layer, const CompressedSettings& settings) {
  QuantizedTensor q = without_codes(layer, read_frame(layer, settings));
  if (settings.format == CompressedFormat::pack_quantized) {
    const int64_t words = code_words(q.cols, settings.bits), bytes = q.row_bytes();
    const std::byte* packed = layer.get("weight_packed", Encoding::i32, {q.rows, words}).data;
    for (int64_t r = 0; r < q.rows; ++r)
      std::memcpy(q.codes.data() + r * bytes, packed + 4 * r * words, size_t(bytes));
    return q;
  }
  const std::byte* stored = layer.get("weight", Encoding::i8, {q.rows, q.cols}).data;
  std::vector<uint8_t> codes(static_cast<size_t>(q.cols));
  for (int64_t r = 0; r < q.rows; ++r) {
    for (int64_t c = 0; c < q.cols; ++c)
      codes[size_t(c)] = code_of(layer, "weight", stored[r * q.cols + c], settings.bits);
    q.set_codes(r, codes);
  }
  return q;
}

std::optional<std::string> compressed_obstacle(CompressedFormat format, const QuantScheme& scheme) {
  if (scheme.zero == Zero::offset) return "compressed-tensors has integer zero points, not float offsets";
  if (scheme.levels != Levels::uniform)
    return "compressed-tensors has evenly spaced codes, no table of levels";
  if (scheme.two_level()) return "compressed-tensors has one float for each scale";
  if (format == CompressedFormat::pack_quantized) {
    if (scheme.bits != 4 && scheme.bits != 8)
      return fmt::format("pack-quantized is loaded with 4 or 8 bits, not {}", scheme.bits);
  } else {
    if (scheme.bits != 8) return fmt::format("int-quantized has 8 bits, not {}", scheme.bits);
    if (scheme.group != 0) return "int-quantized has one scale for each row";
    if (scheme.zero != Zero::mid) return "int-quantized is loaded with symmetric weights only";
  }
  return std::nullopt;
}

std::vector<LayerTensor> write_compressed(CompressedFormat format, const QuantizedTensor& weight) {
  if (const auto obstacle = compressed_obstacle(format, weight.scheme)) throw Error(*obstacle);
  std::vector<LayerTensor> layer;
  if (format == CompressedFormat::pack_quantized) {
    Tensor shape(DType::i64, {2});
    const int64_t sizes[2] = {weight.rows, weight.cols};
    std::memcpy(shape.data(), sizes, sizeof sizes);
    layer.push_back({"weight_packed", pack_words(weight)});
    layer.push_back({"weight_shape", std::move(shape)});
    if (weight.scheme.zero == Zero::integer) layer.push_back({"weight_zero_point", pack_zeros(weight)});
  } else {
    layer.push_back({"weight", signed_codes(weight)});
  }
  layer.push_back({"weight_scale", scale_table(weight)});
  return layer;
}

}  // namespace edgeq
