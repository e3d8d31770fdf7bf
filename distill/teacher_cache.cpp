// SPDX-License-Identifier: Apache-2.0
#include "distill/teacher_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <utility>

#include "core/error.h"
#include "core/half.h"
#include "formats/hdf5_file.h"
#include "formats/output_file.h"

namespace edgeq {
namespace {

constexpr char kFormat[] = "edgeq-teacher";
constexpr int64_t kVersion = 1;
constexpr int64_t kPartSequences = 32;
constexpr int64_t kLargestVocab = 1 << 24;

const char* kind_name(TeacherKind kind) { return kind == TeacherKind::top_k ? "top_k" : "samples"; }
int64_t id_bytes(int64_t vocab) { return vocab <= 1 << 16 ? 2 : 3; }

std::string part_path(const std::string& folder, int64_t first) {
  return fmt::format("{}/part-{:08}.h5", folder, first);
}

template <class T>
Tensor vector_of(DType dtype, const std::vector<T>& values) {
  Tensor tensor(dtype, {std::ssize(values)});
  std::memcpy(tensor.data(), values.data(), size_t(tensor.bytes()));
  return tensor;
}

template <class T>
std::vector<T> values_of(const Tensor& tensor) {
  std::vector<T> values(size_t(tensor.size()));
  std::memcpy(values.data(), tensor.data(), size_t(tensor.bytes()));
  return values;
}

void write_key(Hdf5Group& file, const TeacherKey& key) {
  file.write_text("format", kFormat);
  file.write_number("version", kVersion);
  file.write_text("teacher", key.teacher);
  file.write_text("sequences", key.sequences);
  file.write_number("sequence_count", key.count);
  file.write_number("vocab", key.vocab);
  file.write_text("kind", kind_name(key.form.kind));
  file.write_number("k", key.form.k);
  file.write_number("seed", int64_t(key.form.seed));
  file.write_text("tool_version", key.tool_version);
}

void require_key(const Hdf5Group& file, const TeacherKey& key) {
  const auto same = [](std::string_view field, const auto& found, const auto& expected) {
    if (found == expected) return;
    throw Error(fmt::format("a cached teacher of another {}: found {}, expected {}", field, found, expected))
        .set_hint("remove the folder, or name another one, to have it computed anew");
  };
  same("format", file.read_text("format"), std::string(kFormat));
  same("version", file.read_number("version"), kVersion);
  same("teacher", file.read_text("teacher"), key.teacher);
  same("text (sequences)", file.read_text("sequences"), key.sequences);
  same("number of sequences (sequence_count)", file.read_number("sequence_count"), key.count);
  same("vocab", file.read_number("vocab"), key.vocab);
  same("kind", file.read_text("kind"), std::string(kind_name(key.form.kind)));
  same("k", file.read_number("k"), key.form.k);
  same("seed", file.read_number("seed"), int64_t(key.form.seed));
  same("tool_version", file.read_text("tool_version"), key.tool_version);
}

// Numbers of the files there are, each the first sequence of its file, as far as they join up; `next` is the
// sequence behind them.
std::vector<int64_t> parts_of(const std::string& folder, const TeacherKey& key, int64_t& next) {
  std::vector<int64_t> firsts;
  next = 0;
  for (std::string path = part_path(folder, 0); next < key.count && std::filesystem::exists(path);
       path = part_path(folder, next)) {
    with_context(path, [&] {
      const Hdf5Group file = open_hdf5(path);
      require_key(file, key);
      const int64_t first = file.read_number("first"), count = file.read_number("count");
      if (first != next || count < 1 || count > key.count - next)
        throw Error(fmt::format("sequences from {} on, {} of them; expected 1 to {} from {} on", first, count,
                                key.count - next, next));
      firsts.push_back(first);
      next += count;
    });
  }
  return firsts;
}

void check_vocab(const TeacherKey& key) {
  if (key.vocab < 2 || key.vocab > kLargestVocab)
    throw Error(fmt::format("a vocabulary of {}; expected 2 to {}", key.vocab, kLargestVocab));
}

void write_rows(Hdf5Group group, const TeacherRows& rows, const TeacherKey& key) {
  const bool samples = key.form.kind == TeacherKind::samples;
  std::vector<TokenId> ids;
  std::vector<uint8_t> counts, places;
  std::vector<uint16_t> weights, tail;
  for (int64_t t = 0; t < rows.tokens; ++t) {
    const size_t before = ids.size();
    for (auto i = size_t(t * rows.k); i < size_t((t + 1) * rows.k); ++i) {
      if (samples && rows.weights[i] == 0) break;  // they come last
      ids.push_back(rows.ids[i]);
      if (samples)
        counts.push_back(uint8_t(std::lround(double(rows.weights[i]) * double(rows.k))));
      else
        weights.push_back(f32_to_f16(rows.weights[i]));
    }
    places.push_back(uint8_t(ids.size() - before));
    tail.push_back(f32_to_f16(rows.tail[size_t(t)]));
  }
  std::vector<uint8_t> bytes;
  for (int64_t b = 0; b < id_bytes(key.vocab); ++b)
    for (const TokenId id : ids) bytes.push_back(uint8_t(uint32_t(id) >> (8 * b)));
  const auto put = [&](const char* name, const Tensor& tensor) {
    group.write(name, tensor.view(), Hdf5Group::Packing::deflate);
  };
  group.write_number("tokens", rows.tokens);
  group.write_number("entries", std::ssize(ids));
  put("ids", vector_of(DType::u8, bytes));
  if (samples) {
    put("counts", vector_of(DType::u8, counts));
    put("places", vector_of(DType::u8, places));
  } else {
    put("weights", vector_of(DType::f16, weights));
    put("tail", vector_of(DType::f16, tail));
  }
}

// A row's entries, whose ids and weights are as they were stored; they are made to add up to 1.
void place_row(TeacherRows& rows, int64_t t, double tail, int64_t entries) {
  const auto begin = rows.weights.begin() + t * rows.k;
  double sum = tail;
  for (int64_t i = 0; i < entries; ++i) sum += double(begin[i]);
  if (!(sum > 0.5 && sum < 2)) throw Error(fmt::format("row {} adds up to {}; expected 1", t, sum));
  for (int64_t i = 0; i < entries; ++i) begin[i] = float(double(begin[i]) / sum);
  rows.tail[size_t(t)] = float(tail / sum);
}

TeacherRows read_rows(const Hdf5Group& group, const TeacherKey& key) {
  const bool samples = key.form.kind == TeacherKind::samples;
  const int64_t k = key.form.k, tokens = group.read_number("tokens"), entries = group.read_number("entries");
  if (tokens < 1 || tokens > INT32_MAX || entries < tokens || entries > tokens * k)
    throw Error(fmt::format("{} tokens with {} entries; expected 1 to {} for each", tokens, entries, k));
  const auto bytes = values_of<uint8_t>(group.read("ids", DType::u8, {entries * id_bytes(key.vocab)}));
  std::vector<uint8_t> counts, places(1);
  std::vector<uint16_t> weights, tail;
  if (samples) {
    counts = values_of<uint8_t>(group.read("counts", DType::u8, {entries}));
    places = values_of<uint8_t>(group.read("places", DType::u8, {tokens}));
  } else {
    weights = values_of<uint16_t>(group.read("weights", DType::f16, {entries}));
    tail = values_of<uint16_t>(group.read("tail", DType::f16, {tokens}));
  }
  TeacherRows rows{.tokens = tokens,
                   .k = k,
                   .ids = std::vector<TokenId>(size_t(tokens * k)),
                   .weights = std::vector<float>(size_t(tokens * k)),
                   .tail = std::vector<float>(size_t(tokens))};
  int64_t at = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    const int64_t of_row = samples ? places[size_t(t)] : k;
    if (of_row < 1 || of_row > k || at + of_row > entries)
      throw Error(
          fmt::format("row {} has {} entries of {} left; expected 1 to {}", t, of_row, entries - at, k));
    for (int64_t i = 0; i < of_row; ++i, ++at) {
      uint32_t id = 0;
      for (int64_t b = 0; b < id_bytes(key.vocab); ++b)
        id |= uint32_t(bytes[size_t(b * entries + at)]) << (8 * b);
      if (int64_t(id) >= key.vocab) throw Error(fmt::format("token {}; expected below {}", id, key.vocab));
      rows.ids[size_t(t * k + i)] = TokenId(id);
      rows.weights[size_t(t * k + i)] =
          samples ? float(counts[size_t(at)]) / float(k) : f16_to_f32(weights[size_t(at)]);
    }
    place_row(rows, t, samples ? 0.0 : double(f16_to_f32(tail[size_t(t)])), of_row);
  }
  return rows;
}

}  // namespace

TeacherCacheWriter::TeacherCacheWriter(std::string folder, const TeacherKey& key)
    : folder_(std::move(folder)), key_(key) {
  check_vocab(key);
  parts_of(folder_, key_, next_);
  first_ = next_;
  make_folder_of(part_path(folder_, 0));
}

void TeacherCacheWriter::add(MatrixView<const float> log_probs) {
  EDGEQ_CHECK(next_ < key_.count && log_probs.rows > 0, "a cache takes as many sequences as its key says");
  if (log_probs.cols != key_.vocab)
    throw Error(
        fmt::format("the teacher has {} tokens in its vocabulary; expected {}", log_probs.cols, key_.vocab));
  rows_.push_back(with_context(fmt::format("sequence {}", next_),
                               [&] { return reduce_rows(log_probs, key_.form, next_); }));
  ++next_;
  if (next_ == key_.count || next_ % kPartSequences == 0) write_part();
}

void TeacherCacheWriter::write_part() {
  OutputFile output(part_path(folder_, first_));
  with_context(output.path(), [&] {
    Hdf5Group file = create_hdf5(output.partial_path());
    write_key(file, key_);
    file.write_number("first", first_);
    file.write_number("count", std::ssize(rows_));
    for (size_t i = 0; i < rows_.size(); ++i)
      write_rows(file.create_group(fmt::format("{}", first_ + int64_t(i))), rows_[i], key_);
    file.flush();
  });
  output.commit();
  first_ = next_;
  rows_.clear();
}

TeacherCache::TeacherCache(std::string folder, const TeacherKey& key)
    : folder_(std::move(folder)), key_(key) {
  check_vocab(key);
  int64_t next = 0;
  firsts_ = parts_of(folder_, key_, next);
  if (next != key_.count)
    throw Error(fmt::format("{}: {} of {} sequences are cached; expected all", folder_, next, key_.count));
  for (const int64_t first : firsts_)
    bytes_ += int64_t(std::filesystem::file_size(part_path(folder_, first)));
}

TeacherRows TeacherCache::read(int64_t sequence) const {
  EDGEQ_CHECK(sequence >= 0 && sequence < key_.count, "a sequence of the cache");
  const auto part = std::ranges::upper_bound(firsts_, sequence) - 1;
  const std::string path = part_path(folder_, *part), name = fmt::format("{}", sequence);
  return with_context(path, [&] {
    const Hdf5Group file = open_hdf5(path);
    return with_context(name, [&] { return read_rows(file.open_group(name), key_); });
  });
}

}  // namespace edgeq
