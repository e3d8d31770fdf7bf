// SPDX-License-Identifier: Apache-2.0
// safetensors: u64 little-endian header length n, n bytes of JSON {name: {dtype, shape, data_offsets: [begin,
// end]}, "__metadata__": {text: text}}, then the data; offsets count from the end of the header.
// Format: https://github.com/huggingface/safetensors#format. The reader is as strict as the reference
// implementation: tensors must tile the data without holes or overlaps, and a size must be shape times dtype.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/container.h"
#include "formats/mapped_file.h"
#include "formats/output_file.h"
#include "formats/safetensors_header.h"

namespace edgeq {

class SafetensorsFile final : public TensorReader {
 public:
  // Throws Error naming the file, and the tensor where there is one.
  explicit SafetensorsFile(const std::string& path) : SafetensorsFile(MappedFile::open(path)) {}
  explicit SafetensorsFile(std::shared_ptr<const MappedFile> file);
  SafetensorsFile(SafetensorsFile&&) = default;  // a copy's by_name_ would look into the original

  const std::string& path() const override { return file_->path(); }
  const std::vector<EncodedTensor>& tensors() const override { return tensors_; }  // by data offset
  const EncodedTensor* find(std::string_view name) const override;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::shared_ptr<const MappedFile>& file() const { return file_; }

 private:
  std::shared_ptr<const MappedFile> file_;
  std::vector<EncodedTensor> tensors_;
  std::unordered_map<std::string_view, size_t> by_name_;  // keys look into tensors_
  std::map<std::string, std::string> metadata_;
};

// The weights of a Hugging Face folder: the shards that model.safetensors.index.json names, or
// model.safetensors alone. Every tensor of the index must lie in the shard that the index gives, and no shard
// may hold a tensor that the index does not know.
class SafetensorsFolder final : public TensorReader {
 public:
  // Throws Error: neither file there, a missing shard, a tensor in the wrong shard, ...
  explicit SafetensorsFolder(std::string folder);

  const std::string& path() const override { return folder_; }
  const std::vector<EncodedTensor>& tensors() const override { return tensors_; }
  const EncodedTensor* find(std::string_view name) const override;
  const std::vector<SafetensorsFile>& shards() const { return shards_; }

 private:
  void open_shards(const std::string& index_path);

  std::string folder_;
  std::vector<SafetensorsFile> shards_;
  std::vector<EncodedTensor> tensors_;
  std::unordered_map<std::string_view, size_t> by_name_;
};

// Writes a safetensors file tensor by tensor; the header comes last, because metadata (hashes, provenance) is
// known last. Room for it is reserved in front and filled with spaces; a longer header moves the data once.
// Data begins on a multiple of 64 bytes and so does every tensor (Alignment::lines: for kernels that run from
// the mapping), or every tensor begins on a multiple of its element size (Alignment::elements: for other
// tools, which take what they do not know for a mistake). Where that leaves a hole, which the format does not
// allow, a U8 tensor "pad.<n>" fills it.
class SafetensorsWriter {
 public:
  static constexpr int64_t kHeaderRoom = 64 * 1024;
  enum class Alignment : uint8_t { lines, elements };

  explicit SafetensorsWriter(std::string path, OutputFile::Existing existing = OutputFile::Existing::refuse,
                             int64_t header_room = kHeaderRoom, Alignment alignment = Alignment::lines);

  const std::string& path() const { return out_.path(); }
  // bytes.size() is element_count(shape) * dtype_bytes(dtype); names are unique.
  void add(const std::string& name, DType dtype, const Shape& shape, std::span<const std::byte> bytes);
  // The same in pieces: begin, then append until the size is reached.
  void begin(const std::string& name, DType dtype, const Shape& shape);
  void append(std::span<const std::byte> bytes);
  // Writes the header, syncs and renames. Returns the file's bytes.
  int64_t finish(const std::map<std::string, std::string>& metadata);
  // Tensors so far, pads among them.
  const std::vector<SafetensorsEntry>& tensors() const { return header_.tensors; }

 private:
  OutputFile out_;
  Alignment alignment_;
  int64_t data_begin_;
  SafetensorsHeader header_;
  int64_t pads_ = 0;
  int64_t missing_bytes_ = 0;  // of the tensor that was begun last
};

}  // namespace edgeq
