// SPDX-License-Identifier: Apache-2.0
// A checkpoint over a container of tensors, whichever it is: what the Hugging Face folder and the GGUF file
// share. Finds each tensor that the config calls for and hands it out under our name and in our order.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/container.h"
#include "formats/mapped_file.h"
#include "models/import.h"
#include "models/names.h"

namespace edgeq {

using MappedFiles = std::vector<std::shared_ptr<const MappedFile>>;

// The pages under `bytes`, which lie in one of the files, are not needed again soon.
void let_go(const MappedFiles& files, std::span<const std::byte> bytes);

class FileCheckpoint final : public Checkpoint {
 public:
  using MakeTokenizer = Tokenizer (*)(const FileCheckpoint&);

  // `files` are those that the reader looks into. Throws Error: a tensor that is missing, of another shape or
  // type, or that the config does not call for.
  FileCheckpoint(std::string path, ModelConfig config, Naming naming, std::unique_ptr<TensorReader> reader,
                 MappedFiles files, MakeTokenizer make_tokenizer);

  const std::string& path() const override { return path_; }
  const ModelConfig& config() const override { return config_; }
  const TensorReader& reader() const { return *reader_; }
  Tokenizer tokenizer() const override { return make_tokenizer_(*this); }
  int64_t file_bytes() const override {
    int64_t bytes = 0;
    for (const auto& file : files_) bytes += file->size();
    return bytes;
  }
  std::string hash() const override {
    std::call_once(hashed_, [this] { hash_ = compute_hash(); });
    return hash_;
  }

  bool has(std::string_view name) const override { return entries_.contains(name); }
  std::string encoding(std::string_view name) const override;
  std::optional<QuantScheme> scheme(std::string_view name) const override;
  std::optional<QuantizedTensor> codes(std::string_view name) const override;
  Tensor load(std::string_view name) const override;
  Tensor load_rows(std::string_view name, int64_t first, int64_t count) const override;

 private:
  // One tensor that the config calls for: its shape, and where it lies.
  struct Entry {
    Shape shape;  // ours; a matrix that is handed out as a vector has `flat`
    bool flat = false;
    const EncodedTensor* tensor = nullptr;
    Placement place;
  };

  void settle_tied_head();
  void index();
  void refuse_strangers() const;
  void add(const std::string& name, const Shape& shape, bool flat = false);
  const EncodedTensor* find_stored(const std::string& name) const;
  void read_coded(const Entry& source, int64_t first, MatrixView<float> out) const;
  void read_transposed(const Entry& source, int64_t first, MatrixView<float> out) const;
  const Entry& entry(std::string_view name) const;
  std::shared_ptr<const QuantizedTensor> layer(const EncodedTensor& tensor) const;
  void release(const EncodedTensor& tensor) const;
  std::string compute_hash() const;

  std::string path_;
  ModelConfig config_;
  Naming naming_;
  std::unique_ptr<TensorReader> reader_;
  MappedFiles files_;
  MakeTokenizer make_tokenizer_;
  std::map<std::string, Entry, std::less<>> entries_;
  mutable std::once_flag hashed_;
  mutable std::string hash_;
  mutable std::mutex layer_mutex_;  // of what layer() keeps
  mutable const EncodedTensor* layer_tensor_ = nullptr;
  mutable std::shared_ptr<const QuantizedTensor> layer_;
};

}  // namespace edgeq
