// SPDX-License-Identifier: Apache-2.0
// A compressed model in memory or opened from a packed file: config, tokenizer and named weights. See
// formats/packed.h for the container and formats/panels.h for the layout of a weight.
//
// The packed file is a safetensors file. Its tensors:
//   <site>               U8 [panels, panel_bytes]: a weight in layout r16k4
//   <norm or bias>       F32 [n]
//   tokenizer            U8 [n]: Tokenizer::serialize()
// and its metadata, all text: "edgeq" (format version, "1"), "layout", "config" (JSON), "weights" (JSON: site
// -> scheme or dtype, rows, cols, XXH3 of its bytes), "provenance" (JSON). Tensor data begins on a multiple
// of 64 bytes and every tensor starts on a multiple of 64, so the mapped file is run without a copy.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/quantized_tensor.h"
#include "core/tensor.h"
#include "formats/mapped_file.h"
#include "models/config.h"

namespace edgeq {

// A weight as it lies in the file. Exactly one of `scheme` and `dtype` is set.
struct PackedWeight {
  std::optional<QuantScheme> scheme;
  std::optional<DType> dtype;  // float panels
  int64_t rows = 0, cols = 0;
  std::span<const std::byte> panels;  // r16k4
};

class PackedModel {
 public:
  // Maps the file; checks header, shapes and, unless told otherwise, every checksum. Throws Error naming file
  // and tensor.
  struct OpenOptions {
    bool verify_checksums = true;
  };
  static PackedModel open(const std::string& path, const OpenOptions& options);
  static PackedModel open(const std::string& path) { return open(path, OpenOptions{}); }

  const std::string& path() const { return path_; }
  const ModelConfig& config() const { return config_; }
  const std::map<std::string, PackedWeight>& weights() const { return weights_; }
  const PackedWeight& weight(std::string_view site) const;  // Error when missing
  const PackedWeight* find_weight(std::string_view site) const;
  // Norms and biases, f32 [n]; nullptr data when absent.
  std::span<const float> vector(std::string_view name) const;       // Error when missing
  std::span<const float> find_vector(std::string_view name) const;  // empty when absent
  std::span<const std::byte> tokenizer() const { return tokenizer_; }
  const std::string& provenance_json() const { return provenance_; }
  int64_t file_bytes() const;
  int64_t weight_bytes() const;    // panels only
  double bits_per_weight() const;  // 8 * weight_bytes / weight count

 private:
  std::string path_;
  std::shared_ptr<const MappedFile> file_;
  ModelConfig config_;
  std::map<std::string, PackedWeight> weights_;
  std::map<std::string, std::span<const float>> vectors_;
  std::span<const std::byte> tokenizer_;
  std::string provenance_;
};

// Writes a packed file tensor by tensor: each is packed, hashed and written as it comes, so memory is one
// tensor. The file has its final name only after finish(); until then it is "<path>.partial", removed by the
// destructor when unfinished. Every write is checked (full disk: Error).
class PackedWriter {
 public:
  explicit PackedWriter(std::string path);
  ~PackedWriter();
  PackedWriter(const PackedWriter&) = delete;
  PackedWriter& operator=(const PackedWriter&) = delete;

  void add(const std::string& site, const QuantizedTensor& weight);
  void add(const std::string& site, const Tensor& matrix);  // f32, f16 or bf16, as float panels
  void add_vector(const std::string& name, std::span<const float> values);  // norms, biases
  // Writes the header and renames. Returns the file's bytes.
  int64_t finish(const ModelConfig& config, std::span<const std::byte> tokenizer,
                 const std::string& provenance_json);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace edgeq
