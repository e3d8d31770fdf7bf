// SPDX-License-Identifier: Apache-2.0
#include "formats/safetensors_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"

namespace edgeq {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kMetadata = "__metadata__";
constexpr size_t kMaxDimensions = 8;
constexpr int kMaxIndexDepth = 16;

// Takes the header apart while it is parsed: no tree is built, so a hostile text costs no memory, and
// nesting beyond the format's three levels is refused at once.
class HeaderSax final : public nlohmann::json_sax<Json> {
 public:
  SafetensorsHeader take() { return std::move(header_); }

  bool key(string_t& name) override {
    if (depth_ == 1) {
      if (!names_.insert(name).second) throw Error(fmt::format("\"{}\" is listed twice", name));
      in_metadata_ = name == kMetadata;
      name_ = name;
      fields_ = 0;
    } else if (in_metadata_) {
      if (header_.metadata.contains(name)) throw Error(fmt::format("metadata \"{}\" is listed twice", name));
      field_name_ = name;
    } else {
      field_ = name == "dtype" ? kDtype : name == "shape" ? kShape : name == "data_offsets" ? kOffsets : 0;
      if (field_ == 0 || (fields_ & field_) != 0)
        refuse(fmt::format("field \"{}\"; expected dtype, shape and data_offsets, each once", name));
      fields_ |= field_;
    }
    return true;
  }

  bool string(string_t& value) override {
    if (depth_ == 2 && in_metadata_) {
      header_.metadata.emplace(field_name_, std::move(value));
      return true;
    }
    if (depth_ != 2 || field_ != kDtype) refuse(fmt::format("the text \"{}\"", value));
    // A truth value is a byte; masks are stored so, which nobody here reads.
    const auto dtype = value == "BOOL" ? DType::u8 : parse_dtype(value);
    if (!dtype)
      refuse(fmt::format("dtype {}; expected F32, F16, BF16, F64, I8, U8, I16, I32, I64 or BOOL", value));
    entry_.dtype = *dtype;
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (!in_array_) refuse(fmt::format("the number {}", value));
    if (field_ == kShape) {
      if (value > uint64_t(1) << 62) refuse(fmt::format("dimension {}; it is absurd", value));
      if (entry_.shape.size() == kMaxDimensions)
        refuse(fmt::format("more than {} dimensions", kMaxDimensions));
      entry_.shape.push_back(int64_t(value));
    } else {
      if (offsets_ == 2) refuse("more than two data_offsets");
      (offsets_ == 0 ? entry_.begin : entry_.end) = value;
      ++offsets_;
    }
    return true;
  }
  bool number_integer(number_integer_t value) override {
    refuse(fmt::format("the number {}; expected one that is not negative", value));
  }
  bool number_float(number_float_t, const string_t& text) override {
    refuse(fmt::format("the number {}; expected a whole one below 2^64", text));
  }

  bool start_object(size_t) override {
    if (depth_ == 2 || in_array_) refuse("an object");
    if (depth_ == 1) {
      entry_ = {};
      field_ = 0;
    }
    ++depth_;
    return true;
  }
  bool end_object() override {
    if (--depth_ == 1 && !in_metadata_) {
      if (fields_ != (kDtype | kShape | kOffsets) || offsets_ != 2)
        refuse("too few fields; expected dtype, shape and two data_offsets");
      entry_.name = name_;
      header_.tensors.push_back(std::move(entry_));
    }
    offsets_ = 0;
    return true;
  }
  bool start_array(size_t) override {
    if (depth_ != 2 || in_array_ || in_metadata_ || (field_ != kShape && field_ != kOffsets))
      refuse("an array");
    in_array_ = true;
    return true;
  }
  bool end_array() override {
    in_array_ = false;
    return true;
  }

  bool null() override { refuse("null"); }
  bool boolean(bool value) override { refuse(value ? "true" : "false"); }
  bool binary(binary_t&) override { refuse("binary data"); }  // never in JSON text
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    throw Error(fmt::format("header is not valid JSON at byte {}", position));
  }

 private:
  static constexpr unsigned kDtype = 1, kShape = 2, kOffsets = 4;

  [[noreturn]] void refuse(std::string_view found) const {
    if (depth_ == 0) throw Error(fmt::format("header is {}; expected an object", found));
    throw Error(
        fmt::format("\"{}\" has {}{}", name_, found, in_metadata_ ? "; expected names with texts" : ""));
  }

  SafetensorsHeader header_;
  SafetensorsEntry entry_;
  std::set<std::string> names_;
  std::string name_, field_name_;  // key of the first and of the second level
  int depth_ = 0, offsets_ = 0;
  unsigned field_ = 0, fields_ = 0;
  bool in_array_ = false, in_metadata_ = false;
};

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view json_text) {
  HeaderSax sax;
  Json::sax_parse(json_text.begin(), json_text.end(), &sax);
  return sax.take();
}

std::string safetensors_header_text(const SafetensorsHeader& header) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!header.metadata.empty()) json[std::string(kMetadata)] = header.metadata;
  for (const SafetensorsEntry& entry : header.tensors)
    json[entry.name] = {{"dtype", dtype_name(entry.dtype)},
                        {"shape", entry.shape},
                        {"data_offsets", {entry.begin, entry.end}}};
  // A name that is not UTF-8 (a file's path, say) is no reason to lose the file.
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

SafetensorsIndex parse_safetensors_index(std::string_view json_text) {
  const auto shallow = [](int depth, Json::parse_event_t, Json&) {
    if (depth > kMaxIndexDepth) throw Error("index is nested too deeply");
    return true;
  };
  Json json;
  try {
    json = Json::parse(json_text.begin(), json_text.end(), shallow);
  } catch (const Json::exception& error) {  // also a number that no double holds, which is no parse_error
    const auto* parse = dynamic_cast<const Json::parse_error*>(&error);
    throw Error(parse == nullptr ? "index is not valid JSON: a number is out of range"
                                 : fmt::format("index is not valid JSON at byte {}", parse->byte));
  }
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (map == json.end() || !map->is_object() || map->empty())
    throw Error("index has no \"weight_map\" object with tensors");

  SafetensorsIndex index;
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string()) throw Error(fmt::format("shard of \"{}\" is not a text", tensor));
    const auto& file = shard.get_ref<const std::string&>();
    // A shard lies beside its index: a path would let a checkpoint read anywhere.
    if (file.empty() || file == "." || file == ".." ||
        file.find_first_of(std::string_view("/\0", 2)) != std::string::npos)
      throw Error(fmt::format("shard \"{}\" of \"{}\" is not a plain file name", file, tensor));
    shards.insert(file);
  }
  index.shards.assign(shards.begin(), shards.end());
  for (const auto& [tensor, shard] : map->items()) {
    const auto at = std::ranges::lower_bound(index.shards, shard.get_ref<const std::string&>());
    index.shard_of.emplace(tensor, size_t(at - index.shards.begin()));
  }
  return index;
}

}  // namespace edgeq
