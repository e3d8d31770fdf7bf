// SPDX-License-Identifier: Apache-2.0
// GGUF, the container of ggml (versions 2 and 3, little endian): "GGUF", u32 version, u64 tensors, u64
// key-values; key-values (string key, u32 type, value); tensor infos (string name, u32 dimensions, u64 sizes
// innermost first, u32 type, u64 offset); padding to general.alignment; data.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "formats/container.h"
#include "formats/gguf_types.h"
#include "formats/mapped_file.h"
#include "formats/output_file.h"

namespace edgeq {

// Whether the file begins as GGUF files do. False when it cannot be read.
bool is_gguf(const std::string& path);

class GgufFile final : public TensorReader {
 public:
  // Throws Error naming the file, and the key or tensor where there is one. Every length is checked against
  // the file before anything is allocated for it.
  explicit GgufFile(const std::string& path) : GgufFile(MappedFile::open(path)) {}
  explicit GgufFile(std::shared_ptr<const MappedFile> file);
  GgufFile(GgufFile&&) = default;  // a copy's by_name_ would look into the original

  const std::string& path() const override { return file_->path(); }
  const std::vector<EncodedTensor>& tensors() const override { return tensors_; }  // as listed in the file
  const EncodedTensor* find(std::string_view name) const override;
  const std::shared_ptr<const MappedFile>& file() const { return file_; }
  uint32_t version() const { return version_; }

  // Metadata. `find_*` gives nullopt for an absent key, `get_*` throws; both throw Error for a value of
  // another type. Writers disagree about integer widths, so any integer type (any float type) is accepted.
  // Views look into the mapped file.
  const std::vector<std::string_view>& keys() const { return keys_; }  // in file order
  bool has(std::string_view key) const { return values_.contains(key); }
  bool is_array(std::string_view key) const;  // false when absent
  std::optional<int64_t> find_int(std::string_view key) const;
  std::optional<double> find_float(std::string_view key) const;
  std::optional<bool> find_bool(std::string_view key) const;
  std::optional<std::string_view> find_string(std::string_view key) const;
  std::optional<std::vector<int64_t>> find_ints(std::string_view key) const;  // bools count as 0 and 1
  std::optional<std::vector<float>> find_floats(std::string_view key) const;
  std::optional<std::vector<std::string_view>> find_strings(std::string_view key) const;

  int64_t get_int(std::string_view key) const { return required(key, find_int(key)); }
  double get_float(std::string_view key) const { return required(key, find_float(key)); }
  bool get_bool(std::string_view key) const { return required(key, find_bool(key)); }
  std::string_view get_string(std::string_view key) const { return required(key, find_string(key)); }
  std::vector<int64_t> get_ints(std::string_view key) const { return required(key, find_ints(key)); }
  std::vector<float> get_floats(std::string_view key) const { return required(key, find_floats(key)); }
  std::vector<std::string_view> get_strings(std::string_view key) const {
    return required(key, find_strings(key));
  }

 private:
  // A value as it lies in the file; strings and arrays are read when they are asked for.
  struct Value {
    GgufType type = GgufType::u8;  // of the value, or of the items of an array
    bool is_array = false;
    uint64_t count = 1;
    const std::byte* data = nullptr;
  };
  class Parser;

  // nullptr when absent; Error "... expected <expected>" when `accepts` refuses the type.
  const Value* find_value(std::string_view key, bool is_array, bool (*accepts)(GgufType),
                          std::string_view expected) const;
  [[noreturn]] void missing(std::string_view key) const;
  template <class T>
  T required(std::string_view key, std::optional<T> value) const {
    if (!value) missing(key);
    return std::move(*value);
  }

  std::shared_ptr<const MappedFile> file_;
  uint32_t version_ = 0;
  std::vector<std::string_view> keys_;
  std::unordered_map<std::string_view, Value> values_;
  std::vector<EncodedTensor> tensors_;
  std::unordered_map<std::string_view, size_t> by_name_;
};

// Writes a GGUF v3 file, alignment 32. Everything before the data must be known first: set() the metadata,
// declare() every tensor, then write() their bytes in the order of declaration, then finish().
class GgufWriter {
 public:
  using Value = std::variant<uint32_t, int32_t, uint64_t, float, bool, std::string, std::vector<int32_t>,
                             std::vector<float>, std::vector<std::string>>;

  explicit GgufWriter(std::string path, OutputFile::Existing existing = OutputFile::Existing::refuse);

  void set(std::string key, Value value);  // each key once
  // shape outermost first; the last dimension is a multiple of the encoding's block. Throws Error otherwise,
  // or for a name of 64 bytes or more.
  void declare(std::string name, Encoding encoding, Shape shape);
  // Bytes of the tensors in the order of their declaration, each whole or in pieces.
  void write(std::span<const std::byte> bytes);
  // Syncs and renames; every declared tensor has been written. Returns the file's bytes.
  int64_t finish();

 private:
  struct Declared {
    std::string name;
    Encoding encoding;
    Shape shape;
    int64_t bytes, offset;
  };
  void write_header();

  OutputFile out_;
  std::vector<std::pair<std::string, Value>> values_;
  std::vector<Declared> tensors_;
  size_t written_ = 0;         // whole tensors
  int64_t written_bytes_ = 0;  // of the one after them
  bool header_written_ = false;
};

}  // namespace edgeq
