// SPDX-License-Identifier: Apache-2.0
#include "distill/train_state.h"

#include <fmt/format.h>

#include <cstring>
#include <map>
#include <utility>

#include "core/error.h"
#include "core/hash.h"
#include "formats/safetensors.h"

namespace edgeq {
namespace {

std::span<const std::byte> bytes_of(std::span<float> values) {
  return std::as_bytes(std::span<const float>(values));
}

void add(SafetensorsWriter& writer, const std::string& name, std::span<float> values) {
  writer.add(name, DType::f32, {int64_t(values.size())}, bytes_of(values));
}

std::string hash_of(std::span<const Moving> tensors, bool averages) {
  Hasher hasher;
  for (const Moving& t : tensors) {
    hasher.add(bytes_of(t.values));
    if (averages) hasher.add(bytes_of(t.means)), hasher.add(bytes_of(t.squares));
  }
  return hasher.digest();
}

void read(const SafetensorsFile& file, const std::string& name, std::span<float> out) {
  const EncodedTensor* tensor = file.find(name);
  if (tensor == nullptr || tensor->encoding != Encoding::f32 || tensor->bytes != int64_t(out.size_bytes()))
    throw Error(
        fmt::format("{}: {} is not {} floats; it is of another training", file.path(), name, out.size()));
  std::memcpy(out.data(), tensor->data, out.size_bytes());
}

const std::string& field(const SafetensorsFile& file, const char* name) {
  const auto found = file.metadata().find(name);
  if (found == file.metadata().end())
    throw Error(fmt::format("{}: no checkpoint: there is no {}", file.path(), name));
  return found->second;
}

void check_key(const SafetensorsFile& file, const std::string& key) {
  if (field(file, "key") != key)
    throw Error(fmt::format("{} belongs to another training: model, data or recipe are not what they were",
                            file.path()))
        .set_hint("remove the .work folder to begin anew, or name another output");
}

}  // namespace

void save_state(const std::string& path, const std::string& key, const TrainState& state,
                std::span<const Moving> tensors) {
  SafetensorsWriter writer(path, OutputFile::Existing::replace);
  for (const Moving& t : tensors) {
    add(writer, t.name, t.values);
    add(writer, t.name + ".mean", t.means);
    add(writer, t.name + ".square", t.squares);
  }
  writer.finish({{"key", key},
                 {"step", std::to_string(state.step)},
                 {"report", train_json(state.report)},
                 {"hash", hash_of(tensors, true)}});
}

TrainState load_state(const std::string& path, const std::string& key, std::span<const Moving> tensors) {
  const SafetensorsFile file(path);
  check_key(file, key);
  for (const Moving& t : tensors) {
    read(file, t.name, t.values);
    read(file, t.name + ".mean", t.means);
    read(file, t.name + ".square", t.squares);
  }
  if (field(file, "hash") != hash_of(tensors, true))
    throw Error(
        fmt::format("{} is damaged: its numbers do not have the hash that they were written with", path));
  try {
    return {.report = parse_train_json(field(file, "report")), .step = std::stoll(field(file, "step"))};
  } catch (const std::exception& error) {
    throw Error(fmt::format("{} is damaged: {}", path, error.what()));
  }
}

void save_values(const std::string& path, const std::string& key, std::span<const Moving> tensors) {
  SafetensorsWriter writer(path, OutputFile::Existing::replace);
  for (const Moving& t : tensors) add(writer, t.name, t.values);
  writer.finish({{"key", key}, {"hash", hash_of(tensors, false)}});
}

void load_values(const std::string& path, const std::string& key, std::span<const Moving> tensors) {
  const SafetensorsFile file(path);
  check_key(file, key);
  for (const Moving& t : tensors) read(file, t.name, t.values);
  if (field(file, "hash") != hash_of(tensors, false))
    throw Error(
        fmt::format("{} is damaged: its numbers do not have the hash that they were written with", path));
}

}  // namespace edgeq
