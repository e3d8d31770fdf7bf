// SPDX-License-Identifier: Apache-2.0
#include "models/file_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/hash.h"
#include "core/interrupt.h"
#include "formats/gguf_blocks.h"
#include "models/family.h"
#include "models/sites.h"

namespace edgeq {
namespace {

bool is_float(Encoding encoding) { return !is_plain(encoding) || is_floating(plain_dtype(encoding)); }

// Throws for the first value that is NaN or infinite; `first_row` is where `values` begin in the tensor.
void check_finite(const EncodedTensor& tensor, MatrixView<const float> values, int64_t row) {
  for (int64_t r = 0; r < values.rows; ++r)
    for (int64_t c = 0; c < values.cols; ++c) {
      const auto bits = std::bit_cast<uint32_t>(values(r, c));
      if ((bits & 0x7f800000u) != 0x7f800000u) continue;
      const std::string at =
          tensor.shape.size() == 1 ? fmt::format("[{}]", c) : fmt::format("[{}, {}]", row + r, c);
      throw Error(
          fmt::format("tensor {} has {} at {}; expected finite numbers", tensor.name, values(r, c), at));
    }
}

void check_finite_scales(const QuantizedTensor& q, std::string_view tensor) {
  for_each_array([&](std::string_view name, auto array) {
    const auto& numbers = q.*array;
    for (size_t i = 0; i < numbers.size(); ++i)
      if (!std::isfinite(float(numbers[i])))
        throw Error(fmt::format("tensor {} has a {} of {} in row {}; expected finite numbers", tensor,
                                name.ends_with("scales") ? "scale" : "offset", numbers[i],
                                int64_t(i) / (int64_t(numbers.size()) / q.rows)));
  });
}

bool equal_values(const EncodedTensor& a, const EncodedTensor& b) {
  if (a.shape != b.shape) return false;
  if (a.encoding == b.encoding) return std::memcmp(a.data, b.data, size_t(a.bytes)) == 0;
  Tensor row_a(DType::f32, {1, a.shape[1]}), row_b(DType::f32, {1, a.shape[1]});
  for (int64_t r = 0; r < a.shape[0]; ++r) {
    decode_rows(a, r, 1, row_a.matrix());
    decode_rows(b, r, 1, row_b.matrix());
    if (std::memcmp(row_a.data(), row_b.data(), size_t(row_a.bytes())) != 0) return false;
  }
  return true;
}

// Tables that can be computed: rotary frequencies, causal masks, rope divisors that the config has read.
bool is_computable(std::string_view name) {
  for (const std::string_view suffix : {"rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias",
                                        ".attention.bias", ".attention.masked_bias"})
    if (name.ends_with(suffix)) return true;
  return name == "rope_freqs.weight" || name == "rope_factors_long.weight" ||
         name == "rope_factors_short.weight";
}

// Where the bytes of a tensor lie.
std::vector<std::span<const std::byte>> parts_of(const EncodedTensor& tensor) {
  if (tensor.codes != nullptr) return tensor.codes->parts();
  return {{tensor.data, size_t(tensor.bytes)}};
}

}  // namespace

void let_go(const MappedFiles& files, std::span<const std::byte> bytes) {
  const auto before = std::less<>();
  for (const auto& file : files) {
    const auto whole = file->bytes();
    if (!before(bytes.data(), whole.data()) && before(bytes.data(), whole.data() + whole.size()))
      file->dont_need(bytes);
  }
}

FileCheckpoint::FileCheckpoint(std::string path, ModelConfig config, Naming naming,
                               std::unique_ptr<TensorReader> reader, MappedFiles files,
                               MakeTokenizer make_tokenizer)
    : path_(std::move(path)),
      config_(std::move(config)),
      naming_(naming),
      reader_(std::move(reader)),
      files_(std::move(files)),
      make_tokenizer_(make_tokenizer) {
  if (naming_ == Naming::hf) settle_tied_head();
  index();
  refuse_strangers();
  for (const EncodedTensor& tensor : reader_->tensors()) release(tensor);  // what opening looked at
}

void FileCheckpoint::settle_tied_head() {
  const EncodedTensor* head = find_stored(checkpoint_name("head", naming_, config_.family));
  const EncodedTensor* table = find_stored(checkpoint_name("embedding", naming_, config_.family));
  if (!config_.tied_head || head == nullptr || table == nullptr) return;
  const auto comparable_one = [](const EncodedTensor& t) {
    return t.shape.size() == 2 && is_float(t.encoding) && t.codes == nullptr;
  };
  const bool comparable = comparable_one(*head) && comparable_one(*table);
  config_.tied_head = comparable && equal_values(*head, *table);
}

void FileCheckpoint::index() {
  for (const SiteShape& site : all_sites(config_)) {
    add(site.name, {site.rows, site.cols});
    if (site.bias) add(site.name + ".bias", {site.rows});
  }
  for (const VectorShape& vector : all_vectors(config_)) {
    if (entries_.contains(vector.name)) continue;
    if (vector.cols == 0) {
      add(vector.name, {vector.size});
    } else {
      add(vector.name, {vector.size / vector.cols, vector.cols}, /*flat=*/true);
    }
  }
}

// What begins the names of a Hugging Face model is missing where only its base was saved (as GPT-2's files
// are), and transformers 5 calls every head lm_head.
const EncodedTensor* FileCheckpoint::find_stored(const std::string& name) const {
  const EncodedTensor* found = reader_->find(name);
  if (found != nullptr || naming_ != Naming::hf) return found;
  const std::string_view root = family_of(config_).hf_root;
  if (name.starts_with(root)) return reader_->find(name.substr(root.size()));
  return name == checkpoint_name("head", naming_, config_.family) ? reader_->find("lm_head.weight") : nullptr;
}

void FileCheckpoint::add(const std::string& name, const Shape& shape, bool flat) {
  Entry entry{.shape = shape, .flat = flat, .place = placement(config_, name, shape[0], naming_)};
  entry.tensor = find_stored(entry.place.name);
  if (entry.tensor == nullptr) throw Error(fmt::format("tensor {} is missing", entry.place.name));
  if (entry.tensor->codes != nullptr)
    entry.place.transposed = false;  // coded layers are [out, in] in all families
  const Shape expected = entry.place.stored_shape(shape);
  if (entry.tensor->shape != expected)
    throw Error(fmt::format("tensor {} has shape {}; the config calls for {}", entry.tensor->name,
                            shape_text(entry.tensor->shape), shape_text(expected)));
  if (!is_float(entry.tensor->encoding))
    throw Error(fmt::format("tensor {} is {}; expected a floating type", entry.tensor->name,
                            encoding_name(entry.tensor->encoding)));
  entries_.emplace(name, std::move(entry));
}

// A tensor that the config does not know would change the function if it were used (a bias, an adapter): what
// is measured must be the model. Tables that can be computed, and a head that equals the table, are harmless.
void FileCheckpoint::refuse_strangers() const {
  std::set<const EncodedTensor*> known;
  for (const auto& [name, entry] : entries_) known.insert(entry.tensor);
  if (config_.tied_head) known.insert(find_stored(checkpoint_name("head", naming_, config_.family)));
  for (const EncodedTensor& tensor : reader_->tensors()) {
    if (known.contains(&tensor) || is_computable(tensor.name)) continue;
    if (tensor.name.starts_with("pad.")) continue;  // alignment in files of our own
    throw Error(
        fmt::format("tensor {} is not part of a {} model of this config", tensor.name, config_.family));
  }
}

const FileCheckpoint::Entry& FileCheckpoint::entry(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) throw Error(fmt::format("{}: there is no tensor {}", path_, name));
  return found->second;
}

std::string FileCheckpoint::encoding(std::string_view name) const {
  const EncodedTensor& stored = *entry(name).tensor;
  const auto codes = stored.codes != nullptr ? stored.codes->scheme() : std::nullopt;
  return codes ? scheme_text(*codes) : std::string(encoding_name(stored.encoding));
}

std::optional<QuantScheme> FileCheckpoint::scheme(std::string_view name) const {
  const EncodedTensor& stored = *entry(name).tensor;
  return stored.codes != nullptr ? stored.codes->scheme() : block_scheme(stored.encoding);
}

// The pages of a tensor that was just copied out: memory stays one block's.
void FileCheckpoint::release(const EncodedTensor& tensor) const {
  for (const auto& part : parts_of(tensor)) let_go(files_, part);
}

Tensor FileCheckpoint::load(std::string_view name) const {
  const Entry& source = entry(name);
  const Placement& place = source.place;
  if (source.shape.size() == 2) {
    Tensor matrix = load_rows(name, 0, source.shape[0]);
    if (!source.flat) return matrix;
    Tensor vector(DType::f32, {matrix.size()});
    std::copy_n(matrix.f32(), matrix.size(), vector.f32());
    return vector;
  }
  const Tensor stored = decode_tensor(*source.tensor);
  with_context(path_, [&] { check_finite(*source.tensor, stored.matrix(), 0); });
  Tensor vector(DType::f32, source.shape);
  for (int64_t i = 0; i < vector.size(); ++i)
    vector.f32()[i] = stored.f32()[place.stored_row(i)] + place.offset;
  return vector;
}

Tensor FileCheckpoint::load_rows(std::string_view name, int64_t first, int64_t count) const {
  const Entry& source = entry(name);
  EDGEQ_CHECK(source.shape.size() == 2 && first >= 0 && count >= 0 && count <= source.shape[0] - first,
              "load_rows is asked for rows of a matrix");
  Tensor rows(DType::f32, {count, source.shape[1]});
  const MatrixView<float> out = rows.matrix();
  with_context(path_, [&] {
    if (source.place.transposed) return read_transposed(source, first, out);
    if (source.tensor->codes != nullptr) return read_coded(source, first, out);
    // A row at a time where rows are reordered; else all at once.
    const int64_t step = source.place.reordered() ? 1 : count;
    for (int64_t r = 0; r < count; r += step) {
      const int64_t from = source.place.stored_row(first + r);
      decode_rows(*source.tensor, from, step, out.slice_rows(r, step));
      check_finite(*source.tensor, out.slice_rows(r, step), from);
    }
  });
  release(*source.tensor);
  return rows;
}

std::optional<QuantizedTensor> FileCheckpoint::codes(std::string_view name) const {
  const Entry& source = entry(name);
  const EncodedTensor& stored = *source.tensor;
  if (stored.shape.size() != 2 || !scheme(name)) return std::nullopt;
  QuantizedTensor codes = stored.codes != nullptr ? stored.codes->read() : quantized_from_blocks(stored);
  release(stored);
  with_context(path_, [&] { check_finite_scales(codes, stored.name); });
  if (!source.place.reordered() && codes.rows == source.shape[0]) return codes;
  std::vector<int64_t> rows(size_t(source.shape[0]));
  for (size_t r = 0; r < rows.size(); ++r) rows[r] = source.place.stored_row(int64_t(r));
  return select_rows(codes, rows);
}

// The last one is kept: a layer can only be unpacked whole, and is read a few rows at a time.
std::shared_ptr<const QuantizedTensor> FileCheckpoint::layer(const EncodedTensor& tensor) const {
  const std::scoped_lock lock(layer_mutex_);
  if (layer_tensor_ == &tensor) return layer_;
  layer_tensor_ = nullptr;
  layer_.reset();
  layer_ = std::make_shared<const QuantizedTensor>(tensor.codes->read());
  layer_tensor_ = &tensor;
  return layer_;
}

void FileCheckpoint::read_coded(const Entry& source, int64_t first, MatrixView<float> out) const {
  const auto kept = layer(*source.tensor);
  const QuantizedTensor& q = *kept;
  std::vector<uint8_t> codes(size_t(q.cols));
  for (int64_t r = 0; r < out.rows; ++r)
    dequantize_row(q, source.place.stored_row(first + r), codes, out.row(r));
}

// Stored row c holds column c of all our rows.
void FileCheckpoint::read_transposed(const Entry& source, int64_t first, MatrixView<float> out) const {
  Tensor stored(DType::f32, {1, source.tensor->shape[1]});
  for (int64_t c = 0; c < out.cols; ++c) {
    decode_rows(*source.tensor, c, 1, stored.matrix());
    check_finite(*source.tensor, stored.matrix(), c);
    for (int64_t r = 0; r < out.rows; ++r) out(r, c) = stored.f32()[source.place.stored_row(first + r)];
  }
}

std::string FileCheckpoint::compute_hash() const {
  Hasher hasher;
  std::set<const EncodedTensor*> hashed;
  hasher.add(config_to_json(config_));
  for (const auto& [name, source] : entries_) {
    check_interrupt();
    const EncodedTensor& tensor = *source.tensor;
    hasher.add(fmt::format("\n{} {} {}\n", name, shape_text(tensor.shape), encoding_name(tensor.encoding)));
    if (!hashed.insert(&tensor).second) continue;  // several of ours lie in it
    for (const auto& part : parts_of(tensor)) hasher.add(part);
    release(tensor);
  }
  return hasher.digest();
}

}  // namespace edgeq
