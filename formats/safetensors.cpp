// SPDX-License-Identifier: Apache-2.0
#include "formats/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <tuple>

#include "core/error.h"

namespace edgeq {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kLengthBytes = 8;

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

uint64_t little_endian(std::span<const std::byte> bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes.size(); ++i) value |= uint64_t(bytes[i]) << (8 * i);
  return value;
}

std::string_view header_text(const MappedFile& file) {
  const uint64_t length = little_endian(file.slice(0, kLengthBytes, "header length"));
  if (length > kMaxSafetensorsHeaderBytes || length > uint64_t(file.size()) - kLengthBytes) {
    Error error(
        fmt::format("{}: header of {} bytes; expected at most {}", file.path(), length,
                    std::min<uint64_t>(uint64_t(file.size()) - kLengthBytes, kMaxSafetensorsHeaderBytes)));
    if (text_of(file.bytes()).starts_with("version https://git-lfs"))
      error.set_hint("this is a git-lfs pointer, not the weights; `git lfs pull` fetches them");
    if (text_of(file.bytes()).starts_with("\x89HDF"))
      error.set_hint("this is an HDF5 archive; `edgeq convert FILE --to packed` makes a file that runs");
    throw error;
  }
  return text_of(file.slice(kLengthBytes, length, "header"));
}

// Tensors must tile the data: the begin of each is the end of the one before.
void check_tiling(const std::vector<SafetensorsEntry>& entries, uint64_t data_bytes) {
  uint64_t expected = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.begin != expected || entry.end < entry.begin || entry.end > data_bytes)
      throw Error(
          fmt::format("tensor {} has data_offsets [{}, {}]; expected them to begin at {} and end within {}",
                      entry.name, entry.begin, entry.end, expected, data_bytes));
    expected = entry.end;
  }
  if (expected != data_bytes)
    throw Error(fmt::format("tensors end at byte {} of {} bytes of data", expected, data_bytes));
}

EncodedTensor tensor_of(const SafetensorsEntry& entry, const std::byte* data) {
  int64_t bytes = 0;
  const int64_t count =
      with_context(fmt::format("tensor {}", entry.name), [&] { return element_count(entry.shape); });
  const bool overflow = __builtin_mul_overflow(count, dtype_bytes(entry.dtype), &bytes);
  if (overflow || uint64_t(bytes) != entry.end - entry.begin)
    throw Error(fmt::format("tensor {} is {} {} but has {} bytes of data", entry.name,
                            dtype_name(entry.dtype), shape_text(entry.shape), entry.end - entry.begin));
  return {entry.name, encoding_of(entry.dtype), entry.shape, data + entry.begin, bytes};
}

}  // namespace

SafetensorsFile::SafetensorsFile(std::shared_ptr<const MappedFile> file) : file_(std::move(file)) {
  const std::string_view text = header_text(*file_);
  const auto data = file_->bytes().subspan(kLengthBytes + text.size());
  with_context(path(), [&] {
    SafetensorsHeader header = parse_safetensors_header(text);
    std::ranges::sort(header.tensors, {}, [](const SafetensorsEntry& e) { return std::tie(e.begin, e.end); });
    check_tiling(header.tensors, data.size());
    tensors_.reserve(header.tensors.size());
    for (const SafetensorsEntry& entry : header.tensors) tensors_.push_back(tensor_of(entry, data.data()));
    metadata_ = std::move(header.metadata);
  });
  for (size_t i = 0; i < tensors_.size(); ++i) by_name_.emplace(tensors_[i].name, i);
}

const EncodedTensor* SafetensorsFile::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

SafetensorsFolder::SafetensorsFolder(std::string folder) : folder_(std::move(folder)) {
  const fs::path index_path = fs::path(folder_) / "model.safetensors.index.json";
  const fs::path single_path = fs::path(folder_) / "model.safetensors";
  std::error_code ignored;
  if (fs::exists(index_path, ignored)) {
    open_shards(index_path.string());
  } else if (fs::exists(single_path, ignored)) {
    shards_.emplace_back(single_path.string());
  } else {
    Error error(fmt::format("{} holds neither model.safetensors nor model.safetensors.index.json", folder_));
    if (fs::exists(fs::path(folder_) / "pytorch_model.bin", ignored) ||
        fs::exists(fs::path(folder_) / "pytorch_model.bin.index.json", ignored))
      error.set_hint(
          "pickled weights are not read, since a pickle can run code; save the model with "
          "save_pretrained(..., safe_serialization=True)");
    throw error;
  }
  for (const SafetensorsFile& shard : shards_)
    tensors_.insert(tensors_.end(), shard.tensors().begin(), shard.tensors().end());
  for (size_t i = 0; i < tensors_.size(); ++i) by_name_.emplace(tensors_[i].name, i);
}

void SafetensorsFolder::open_shards(const std::string& index_path) {
  const auto file = MappedFile::open(index_path);
  const SafetensorsIndex index =
      with_context(index_path, [&] { return parse_safetensors_index(text_of(file->bytes())); });
  for (const std::string& name : index.shards) {
    const std::string shard_path = (fs::path(folder_) / name).string();
    with_context(index_path, [&] { shards_.emplace_back(shard_path); });
  }
  for (size_t s = 0; s < shards_.size(); ++s)
    for (const EncodedTensor& tensor : shards_[s].tensors()) {
      const auto listed = index.shard_of.find(tensor.name);
      if (listed == index.shard_of.end() || listed->second != s)
        throw Error(fmt::format("{}: tensor {} lies in {}; the index says {}", index_path, tensor.name,
                                index.shards[s],
                                listed == index.shard_of.end() ? "nothing" : index.shards[listed->second]));
    }
  for (const auto& [tensor, shard] : index.shard_of)
    if (shards_[shard].find(tensor) == nullptr)
      throw Error(fmt::format("{}: tensor {} is not in {}, where the index says it is", index_path, tensor,
                              index.shards[shard]));
}

const EncodedTensor* SafetensorsFolder::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace edgeq
