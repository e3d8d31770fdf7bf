// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "core/error.h"
#include "formats/gguf.h"

namespace edgeq {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are written as they lie in memory");

constexpr uint32_t kVersion = 3;
constexpr size_t kMaxNameBytes = 63;  // ggml keeps names in 64 bytes with a terminator

template <class T>
void put(OutputFile& out, T value) {
  out.write(std::as_bytes(std::span(&value, 1)));
}

void put(OutputFile& out, const std::string& text) {
  put(out, uint64_t(text.size()));
  out.write(std::string_view(text));
}

template <class T>
constexpr GgufType kTypeOf = GgufType::array;
template <>
constexpr GgufType kTypeOf<uint32_t> = GgufType::u32;
template <>
constexpr GgufType kTypeOf<int32_t> = GgufType::i32;
template <>
constexpr GgufType kTypeOf<uint64_t> = GgufType::u64;
template <>
constexpr GgufType kTypeOf<float> = GgufType::f32;
template <>
constexpr GgufType kTypeOf<bool> = GgufType::boolean;
template <>
constexpr GgufType kTypeOf<std::string> = GgufType::string;

template <class T>
void put_value(OutputFile& out, const T& value) {
  put(out, uint32_t(kTypeOf<T>));
  put(out, value);
}

template <class T>
void put_value(OutputFile& out, const std::vector<T>& items) {
  put(out, uint32_t(GgufType::array));
  put(out, uint32_t(kTypeOf<T>));
  put(out, uint64_t(items.size()));
  for (const T& item : items) put(out, item);
}

}  // namespace

GgufWriter::GgufWriter(std::string path, OutputFile::Existing existing) : out_(std::move(path), existing) {}

void GgufWriter::set(std::string key, Value value) {
  EDGEQ_CHECK(!header_written_, "metadata comes before the first tensor's bytes");
  EDGEQ_CHECK(std::ranges::none_of(values_, [&](const auto& pair) { return pair.first == key; }),
              "each key is set once");
  values_.emplace_back(std::move(key), std::move(value));
}

void GgufWriter::declare(std::string name, Encoding encoding, Shape shape) {
  EDGEQ_CHECK(!header_written_, "tensors are declared before the first one's bytes");
  EDGEQ_CHECK(!shape.empty() && shape.size() <= 4, "a GGUF tensor has 1 to 4 dimensions");
  if (name.size() > kMaxNameBytes)
    throw Error(fmt::format("tensor name {} has {} bytes; GGUF allows {}", name, name.size(), kMaxNameBytes));
  ggml_type_of(encoding);  // refuses what GGUF lacks now, not when the header is written
  const BlockSize block = block_size(encoding);
  if (shape.back() % block.elements != 0)
    throw Error(fmt::format("tensor {} has {} columns; {} needs a multiple of {}", name, shape.back(),
                            encoding_name(encoding), block.elements));
  const int64_t bytes = element_count(shape) / block.elements * block.bytes;
  int64_t offset = 0;
  if (!tensors_.empty()) {
    const int64_t end = tensors_.back().offset + tensors_.back().bytes;
    offset = (end + kGgufAlignment - 1) / kGgufAlignment * kGgufAlignment;
  }
  tensors_.push_back({std::move(name), encoding, std::move(shape), bytes, offset});
}

void GgufWriter::write_header() {
  out_.write("GGUF");
  put(out_, kVersion);
  put(out_, uint64_t(tensors_.size()));
  put(out_, uint64_t(values_.size()));
  for (const auto& [key, value] : values_) {
    put(out_, key);
    std::visit([this](const auto& v) { put_value(out_, v); }, value);
  }
  for (const Declared& tensor : tensors_) {
    put(out_, tensor.name);
    put(out_, uint32_t(tensor.shape.size()));
    for (size_t d = tensor.shape.size(); d-- > 0;) put(out_, uint64_t(tensor.shape[d]));
    put(out_, ggml_type_of(tensor.encoding));
    put(out_, uint64_t(tensor.offset));
  }
  out_.pad_to(kGgufAlignment);
  header_written_ = true;
}

void GgufWriter::write(std::span<const std::byte> bytes) {
  if (!header_written_) write_header();
  EDGEQ_CHECK(
      written_ < tensors_.size() && int64_t(bytes.size()) <= tensors_[written_].bytes - written_bytes_,
      "a tensor gets as many bytes as it was declared with");
  out_.write(bytes);
  written_bytes_ += int64_t(bytes.size());
  if (written_bytes_ < tensors_[written_].bytes) return;
  out_.pad_to(kGgufAlignment);
  written_bytes_ = 0;
  ++written_;
}

int64_t GgufWriter::finish() {
  if (!header_written_) write_header();
  EDGEQ_CHECK(written_ == tensors_.size(), "every declared tensor is written");
  const int64_t bytes = out_.position();
  out_.commit();
  return bytes;
}

}  // namespace edgeq
