// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <set>

#include "core/error.h"
#include "formats/safetensors.h"

namespace edgeq {
namespace {

constexpr int64_t kAlignment = 64;  // of data, and of tensors in lines
constexpr int64_t kLengthBytes = 8;

constexpr int64_t align(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

bool unique_names(const std::vector<SafetensorsEntry>& entries) {
  std::set<std::string_view> names;
  for (const SafetensorsEntry& entry : entries)
    if (!names.insert(entry.name).second) return false;
  return true;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(std::string path, OutputFile::Existing existing, int64_t header_room,
                                     Alignment alignment)
    : out_(std::move(path), existing), alignment_(alignment), data_begin_(align(header_room)) {
  out_.write(std::string(size_t(data_begin_), ' '));
}

void SafetensorsWriter::begin(const std::string& name, DType dtype, const Shape& shape) {
  EDGEQ_CHECK(missing_bytes_ == 0, "a tensor is complete before the next begins");
  const int64_t step = alignment_ == Alignment::lines ? kAlignment : dtype_bytes(dtype);
  if (out_.position() % step != 0) {
    const uint64_t from = uint64_t(out_.position() - data_begin_);
    out_.pad_to(step);
    const uint64_t to = uint64_t(out_.position() - data_begin_);
    header_.tensors.push_back({fmt::format("pad.{}", pads_++), DType::u8, {int64_t(to - from)}, from, to});
  }
  missing_bytes_ = element_count(shape) * dtype_bytes(dtype);
  const uint64_t from = uint64_t(out_.position() - data_begin_);
  header_.tensors.push_back({name, dtype, shape, from, from + uint64_t(missing_bytes_)});
}

void SafetensorsWriter::append(std::span<const std::byte> bytes) {
  EDGEQ_CHECK(int64_t(bytes.size()) <= missing_bytes_, "a tensor gets as many bytes as its shape says");
  out_.write(bytes);
  missing_bytes_ -= int64_t(bytes.size());
}

void SafetensorsWriter::add(const std::string& name, DType dtype, const Shape& shape,
                            std::span<const std::byte> bytes) {
  begin(name, dtype, shape);
  append(bytes);
}

int64_t SafetensorsWriter::finish(const std::map<std::string, std::string>& metadata) {
  EDGEQ_CHECK(missing_bytes_ == 0, "every tensor is complete");
  EDGEQ_CHECK(unique_names(header_.tensors), "tensor names are unique");
  header_.metadata = metadata;
  std::string text = safetensors_header_text(header_);
  if (text.size() > kMaxSafetensorsHeaderBytes - kAlignment)
    throw Error(fmt::format("{}: header of {} bytes; the format allows {}", path(), text.size(),
                            kMaxSafetensorsHeaderBytes));
  const int64_t needed = align(kLengthBytes + int64_t(text.size()));
  if (needed > data_begin_) {
    out_.shift(data_begin_, needed - data_begin_);
    data_begin_ = needed;
  }
  text.resize(size_t(data_begin_ - kLengthBytes), ' ');
  std::string front;
  for (int i = 0; i < kLengthBytes; ++i) front += char(uint64_t(text.size()) >> (8 * i));
  front += text;
  out_.patch(0, std::as_bytes(std::span(front)));
  const int64_t bytes = out_.position();
  out_.commit();
  return bytes;
}

}  // namespace edgeq
