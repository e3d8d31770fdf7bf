// SPDX-License-Identifier: Apache-2.0
// A compressed model opened from a packed file: config, tokenizer and named weights, run where they are
// mapped.
//
// The packed file is a safetensors file (formats/safetensors.h; formats/panels.h for the layout of a weight).
// Its tensors:
//   <site>               U8 [panels, panel_bytes]: a weight in layout r16k4
//   <norm or bias>       F32 [n]
//   tokenizer            U8 [n]: Tokenizer::serialize()
//   pad.<n>              U8: alignment
// and its metadata, all text:
//   edgeq                version of this format, "1"
//   layout               "r16k4"
//   config               JSON, config_to_json
//   weights              JSON {site: {"scheme" | "dtype": text, "rows": n, "cols": n}}; "input_scale": x
//   beside a
//                        scheme when activations are int8_static
//   hashes               JSON {tensor: XXH3-128 of its bytes}, pads excepted
//   kv                   the runtime's keys and values unless told otherwise (models/kv_scheme.h); or absent
//   activations          how codes read their inputs unless told otherwise (models/activations.h); or absent:
//                        int8_block
//   provenance           JSON, opaque here
//   checksum             XXH3-128 of "<key>\n<text>\n" for every other key in ascending order
// Tensor data begins on a multiple of 64 bytes and every tensor starts on a multiple of 64, so the mapped
// file is run without a copy. A file holds exactly the tensors that its config calls for.
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
#include "formats/output_file.h"
#include "models/activations.h"
#include "models/config.h"
#include "models/kv_scheme.h"

namespace edgeq {

// A file is taken for a packed one when neither its name nor its first bytes say GGUF.
bool is_packed_file(const std::string& path);

// A weight as it lies in the file. Exactly one of `scheme` and `dtype` is set.
struct PackedWeight {
  std::optional<QuantScheme> scheme;
  std::optional<DType> dtype;  // float panels
  int64_t rows = 0, cols = 0;
  std::span<const std::byte> panels;  // r16k4
  float input_scale = 0;              // of Activations::int8_static, positive; 0: none
};

class PackedModel {
 public:
  // Maps the file; checks header, shapes and, unless told otherwise, every checksum. Throws Error naming file
  // and tensor.
  struct OpenOptions {
    bool verify_checksums = true;
    // Pages are let go as soon as they are checked: for those who then read weight by weight, not for those
    // who run the model from where it is mapped.
    bool release_pages = false;
  };
  static PackedModel open(const std::string& path, const OpenOptions& options);
  static PackedModel open(const std::string& path) { return open(path, OpenOptions{}); }
  static PackedModel open(std::shared_ptr<const MappedFile> file, const OpenOptions& options);

  const std::string& path() const { return path_; }
  const ModelConfig& config() const { return config_; }
  const KvScheme& kv() const { return kv_; }
  Activations activations() const { return activations_; }
  const std::map<std::string, PackedWeight>& weights() const { return weights_; }
  const PackedWeight& weight(std::string_view site) const;  // Error when missing
  const PackedWeight* find_weight(std::string_view site) const;
  // Norms and biases, f32 [n]; nullptr data when absent.
  std::span<const float> vector(std::string_view name) const;       // Error when missing
  std::span<const float> find_vector(std::string_view name) const;  // empty when absent
  std::span<const std::byte> tokenizer() const { return tokenizer_; }
  const std::string& provenance_json() const { return provenance_; }
  // A hint that the pages of a weight are not read again soon.
  void release(const PackedWeight& weight) const { file_->dont_need(weight.panels); }
  int64_t file_bytes() const;
  int64_t weight_bytes() const;    // panels only, with their padding
  double bits_per_weight() const;  // 8 * weight_bytes / ModelConfig::weight_count()

 private:
  class Reader;
  std::string path_;
  std::shared_ptr<const MappedFile> file_;
  ModelConfig config_;
  KvScheme kv_;
  Activations activations_ = Activations::int8_block;
  std::map<std::string, PackedWeight> weights_;
  std::map<std::string, std::span<const float>> vectors_;
  std::span<const std::byte> tokenizer_;
  std::string provenance_;
};

// Writes a packed file tensor by tensor: each is packed, hashed and written as it comes, so memory is one
// tensor. The file has its final name only after finish(); until then it is "<path>.partial", removed by the
// destructor when unfinished (formats/output_file.h). Every write is checked (full disk: Error).
class PackedWriter {
 public:
  explicit PackedWriter(std::string path, OutputFile::Existing existing = OutputFile::Existing::refuse);
  ~PackedWriter();
  PackedWriter(const PackedWriter&) = delete;
  PackedWriter& operator=(const PackedWriter&) = delete;

  void add(const std::string& site, const QuantizedTensor& weight, float input_scale = 0);
  void add(const std::string& site, const Tensor& matrix);  // f32, f16 or bf16, as float panels
  void add_vector(const std::string& name, std::span<const float> values);  // norms, biases
  void set_kv(const KvScheme& kv);                                          // default: f32
  void set_activations(Activations activations);                            // default: int8_block
  // Writes the header and renames. Returns the file's bytes. Throws Error when what was added is not exactly
  // what the config calls for.
  int64_t finish(const ModelConfig& config, std::span<const std::byte> tokenizer,
                 const std::string& provenance_json);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace edgeq
