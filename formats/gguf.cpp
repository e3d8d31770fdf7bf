// SPDX-License-Identifier: Apache-2.0
#include "formats/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <limits>

#include "core/error.h"
#include "formats/gguf_types.h"

namespace edgeq {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are read as they lie in the file");

constexpr std::string_view kMagic = "GGUF";
constexpr uint64_t kMinPairBytes = 8 + 4 + 1;        // empty key, type, one byte
constexpr uint64_t kMinTensorBytes = 8 + 4 + 4 + 8;  // empty name, no dimensions, type, offset
constexpr uint32_t kMaxDimensions = 4;
constexpr int64_t kMaxAlignment = int64_t(1) << 20;

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

std::string_view load_string(const std::byte* from) {
  return {reinterpret_cast<const char*>(from) + 8, load<uint64_t>(from)};
}

bool is_integer(GgufType type) {
  return type != GgufType::f32 && type != GgufType::f64 && type != GgufType::boolean &&
         type != GgufType::string && type != GgufType::array;
}

bool is_float(GgufType type) { return type == GgufType::f32 || type == GgufType::f64; }

// Integers and bools. A u64 above the range of int64_t comes out negative; the caller looks.
int64_t load_integer(GgufType type, const std::byte* from) {
  switch (type) {
    case GgufType::u8:
    case GgufType::boolean: return load<uint8_t>(from);
    case GgufType::i8: return load<int8_t>(from);
    case GgufType::u16: return load<uint16_t>(from);
    case GgufType::i16: return load<int16_t>(from);
    case GgufType::u32: return load<uint32_t>(from);
    case GgufType::i32: return load<int32_t>(from);
    default: return load<int64_t>(from);
  }
}

double load_float(GgufType type, const std::byte* from) {
  return type == GgufType::f32 ? double(load<float>(from)) : load<double>(from);
}

}  // namespace

bool is_gguf(const std::string& path) {
  std::array<char, kMagic.size()> found{};
  std::ifstream(path, std::ios::binary).read(found.data(), std::ssize(found));
  return std::string_view(found.data(), found.size()) == kMagic;
}

// Walks the file once from front to end. Each step takes bytes through MappedFile::slice, so nothing is read
// or allocated on the word of a length alone.
class GgufFile::Parser {
 public:
  explicit Parser(GgufFile& out) : out_(out), file_(*out.file_) {}

  void run() {
    const auto [tensors, pairs] = read_counts();
    for (uint64_t i = 0; i < pairs; ++i) read_pair();
    out_.tensors_.reserve(size_t(tensors));
    std::vector<uint64_t> offsets;
    for (uint64_t i = 0; i < tensors; ++i) offsets.push_back(read_tensor());
    place_tensors(offsets);
  }

 private:
  const std::byte* take(uint64_t bytes, std::string_view what) {
    const std::byte* data = file_.slice(position_, bytes, what).data();
    position_ += bytes;
    return data;
  }

  template <class T>
  T read(std::string_view what) {
    return load<T>(take(sizeof(T), what));
  }

  std::string_view read_string(std::string_view what) {
    const auto length = read<uint64_t>(what);
    return {reinterpret_cast<const char*>(take(length, what)), size_t(length)};
  }

  // Fails unless `count` things of at least `bytes` bytes each can still follow.
  void check_count(uint64_t count, uint64_t bytes, std::string_view what) const {
    const uint64_t left = uint64_t(file_.size()) - position_;
    if (count > left / bytes)
      throw Error(
          fmt::format("{}: {} {} do not fit the remaining {} bytes", file_.path(), count, what, left));
  }

  std::pair<uint64_t, uint64_t> read_counts() {
    if (std::memcmp(take(4, "magic"), kMagic.data(), kMagic.size()) != 0)
      throw Error(fmt::format("{} is not a GGUF file: it does not begin with \"GGUF\"", file_.path()));
    out_.version_ = read<uint32_t>("version");
    if (out_.version_ != 2 && out_.version_ != 3)
      throw Error(fmt::format("{}: GGUF version {}; expected 2 or 3{}", file_.path(), out_.version_,
                              (out_.version_ & 0xffff) == 0 ? " (the file is big-endian)" : ""));
    const auto tensors = read<uint64_t>("tensor count");
    const auto pairs = read<uint64_t>("metadata count");
    check_count(pairs, kMinPairBytes, "metadata values");
    check_count(tensors, kMinTensorBytes, "tensors");
    return {tensors, pairs};
  }

  void read_pair() {
    const std::string_view key = read_string("metadata key");
    const Value value = read_value(key);
    if (!out_.values_.emplace(key, value).second)
      throw Error(fmt::format("{}: key {} is there twice", file_.path(), key));
    out_.keys_.push_back(key);
  }

  Value read_value(std::string_view key) {
    Value value;
    value.type = read_type(key);
    if (value.type == GgufType::array) {
      value.is_array = true;
      value.type = read_type(key);
      if (value.type == GgufType::array)
        throw Error(fmt::format("{}: key {} is an array of arrays; expected plain items", file_.path(), key));
      value.count = read<uint64_t>(key);
    }
    const uint64_t item = value.type == GgufType::string ? 8 : gguf_type_bytes(value.type);
    check_count(value.count, item, fmt::format("items of {}", key));
    value.data = file_.bytes().data() + position_;
    if (value.type == GgufType::string) {
      for (uint64_t i = 0; i < value.count; ++i) read_string(key);
    } else {
      take(value.count * item, key);
    }
    return value;
  }

  GgufType read_type(std::string_view key) {
    const auto number = read<uint32_t>(key);
    if (number > uint32_t(GgufType::f64))
      throw Error(fmt::format("{}: key {} has type {}; expected 0 to {}", file_.path(), key, number,
                              uint32_t(GgufType::f64)));
    return GgufType(number);
  }

  // Everything but the place of its data. Returns the offset that the file gives.
  uint64_t read_tensor() {
    EncodedTensor tensor;
    tensor.name = read_string("tensor name");
    const auto dimensions = read<uint32_t>("tensor dimensions");
    if (dimensions > kMaxDimensions)
      throw Error(fmt::format("{}: tensor {} has {} dimensions; expected at most {}", file_.path(),
                              tensor.name, dimensions, kMaxDimensions));
    for (uint32_t d = 0; d < dimensions; ++d) tensor.shape.push_back(read<int64_t>("tensor dimensions"));
    std::ranges::reverse(tensor.shape);
    const auto type = read<uint32_t>("tensor type");
    with_context(fmt::format("{}: tensor {}", file_.path(), tensor.name), [&] { set_size(tensor, type); });
    out_.tensors_.push_back(std::move(tensor));
    return read<uint64_t>("tensor offset");
  }

  static void set_size(EncodedTensor& tensor, uint32_t type) {
    tensor.encoding = encoding_of_ggml_type(type);
    const int64_t elements = element_count(tensor.shape);
    if (elements == 0) throw Error(fmt::format("shape {} has no elements", shape_text(tensor.shape)));
    const int64_t columns = tensor.shape.empty() ? 1 : tensor.shape.back();
    const BlockSize block = block_size(tensor.encoding);
    if (columns % block.elements != 0)
      throw Error(fmt::format("{} columns of {}; expected a multiple of {}", columns,
                              encoding_name(tensor.encoding), block.elements));
    if (__builtin_mul_overflow(elements / block.elements, block.bytes, &tensor.bytes))
      throw Error(fmt::format("shape {} is too large", shape_text(tensor.shape)));
  }

  // Tensors lie one after another in the order of their infos, each on the alignment.
  void place_tensors(const std::vector<uint64_t>& offsets) {
    const auto alignment = out_.find_int("general.alignment").value_or(kGgufAlignment);
    if (alignment < 1 || alignment > kMaxAlignment || !std::has_single_bit(uint64_t(alignment)))
      throw Error(fmt::format("{}: general.alignment is {}; expected a power of two up to {}", file_.path(),
                              alignment, kMaxAlignment));
    const uint64_t mask = uint64_t(alignment) - 1;
    const uint64_t begin = (position_ + mask) & ~mask;
    uint64_t expected = 0;
    for (size_t i = 0; i < offsets.size(); ++i) {
      EncodedTensor& tensor = out_.tensors_[i];
      if (offsets[i] != expected)
        throw Error(fmt::format("{}: tensor {} has offset {}; expected {}", file_.path(), tensor.name,
                                offsets[i], expected));
      tensor.data =
          file_.slice(begin + expected, uint64_t(tensor.bytes), fmt::format("tensor {}", tensor.name)).data();
      expected = (expected + uint64_t(tensor.bytes) + mask) & ~mask;
      if (!out_.by_name_.emplace(tensor.name, i).second)
        throw Error(fmt::format("{}: tensor {} is listed twice", file_.path(), tensor.name));
    }
  }

  GgufFile& out_;
  const MappedFile& file_;
  uint64_t position_ = 0;
};

GgufFile::GgufFile(std::shared_ptr<const MappedFile> file) : file_(std::move(file)) { Parser(*this).run(); }

const EncodedTensor* GgufFile::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

bool GgufFile::is_array(std::string_view key) const {
  const auto found = values_.find(key);
  return found != values_.end() && found->second.is_array;
}

const GgufFile::Value* GgufFile::find_value(std::string_view key, bool is_array, bool (*accepts)(GgufType),
                                            std::string_view expected) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return nullptr;
  const Value& value = found->second;
  if (value.is_array != is_array || !accepts(value.type))
    throw Error(fmt::format("{}: key {} is {}{}; expected {}", path(), key,
                            value.is_array ? "an array of " : "", gguf_type_name(value.type), expected));
  return &value;
}

void GgufFile::missing(std::string_view key) const {
  throw Error(fmt::format("{}: key {} is missing", path(), key));
}

std::optional<int64_t> GgufFile::find_int(std::string_view key) const {
  const Value* value = find_value(key, false, is_integer, "an integer");
  if (value == nullptr) return std::nullopt;
  const int64_t number = load_integer(value->type, value->data);
  if (value->type == GgufType::u64 && number < 0)
    throw Error(fmt::format("{}: key {} is {}; expected at most {}", path(), key, uint64_t(number),
                            std::numeric_limits<int64_t>::max()));
  return number;
}

std::optional<double> GgufFile::find_float(std::string_view key) const {
  const Value* value = find_value(key, false, is_float, "a float");
  if (value == nullptr) return std::nullopt;
  return load_float(value->type, value->data);
}

std::optional<bool> GgufFile::find_bool(std::string_view key) const {
  const auto is_bool = [](GgufType type) { return type == GgufType::boolean; };
  const Value* value = find_value(key, false, is_bool, "a bool");
  if (value == nullptr) return std::nullopt;
  return load<uint8_t>(value->data) != 0;
}

std::optional<std::string_view> GgufFile::find_string(std::string_view key) const {
  const auto is_string = [](GgufType type) { return type == GgufType::string; };
  const Value* value = find_value(key, false, is_string, "a string");
  if (value == nullptr) return std::nullopt;
  return load_string(value->data);
}

std::optional<std::vector<int64_t>> GgufFile::find_ints(std::string_view key) const {
  const auto accepts = [](GgufType type) { return is_integer(type) || type == GgufType::boolean; };
  const Value* value = find_value(key, true, accepts, "an array of integers");
  if (value == nullptr) return std::nullopt;
  std::vector<int64_t> items(size_t(value->count));
  const uint64_t bytes = gguf_type_bytes(value->type);
  for (size_t i = 0; i < items.size(); ++i) items[i] = load_integer(value->type, value->data + i * bytes);
  return items;
}

std::optional<std::vector<float>> GgufFile::find_floats(std::string_view key) const {
  const Value* value = find_value(key, true, is_float, "an array of floats");
  if (value == nullptr) return std::nullopt;
  std::vector<float> items(size_t(value->count));
  const uint64_t bytes = gguf_type_bytes(value->type);
  for (size_t i = 0; i < items.size(); ++i)
    items[i] = float(load_float(value->type, value->data + i * bytes));
  return items;
}

std::optional<std::vector<std::string_view>> GgufFile::find_strings(std::string_view key) const {
  const auto is_string = [](GgufType type) { return type == GgufType::string; };
  const Value* value = find_value(key, true, is_string, "an array of strings");
  if (value == nullptr) return std::nullopt;
  std::vector<std::string_view> items(size_t(value->count));
  const std::byte* at = value->data;
  for (std::string_view& item : items) {
    item = load_string(at);
    at += 8 + item.size();
  }
  return items;
}

}  // namespace edgeq
