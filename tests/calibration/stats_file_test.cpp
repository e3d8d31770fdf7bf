// SPDX-License-Identifier: Apache-2.0
#include "calibration/stats_file.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <string>

#include "core/random.h"
#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::HasSubstr;

Tensor random_tensor(Shape shape, uint64_t seed) {
  Random random(seed);
  Tensor out(DType::f32, std::move(shape));
  for (int64_t i = 0; i < out.size(); ++i) out.f32()[i] = float(random.normal());
  return out;
}

InputStats random_stats(int64_t d, bool with_hessian, uint64_t seed) {
  InputStats stats;
  stats.tokens = 1000 + int64_t(seed);
  stats.abs_max = random_tensor({d}, seed);
  stats.mean = random_tensor({d}, seed + 1);
  stats.square_mean = random_tensor({d}, seed + 2);
  if (with_hessian) stats.hessian = random_tensor({d, d}, seed + 3);
  return stats;
}

const StatsKey kKey{.model_hash = "0123abcd",
                    .corpus_name = "wiki \xc3\xa4.txt",
                    .corpus_hash = "77aa",
                    .windows = 64,
                    .window_tokens = 512,
                    .tool_version = "0.1.0"};

StatsMap sample() {
  // 600 columns: the Hessian has more than one chunk.
  return {{"layers.0.qkv", random_stats(600, true, 1)}, {"layers.0.down", random_stats(24, false, 5)}};
}

void expect_same(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape(), b.shape());
  for (int64_t i = 0; i < a.size(); ++i) ASSERT_EQ(a.f32()[i], b.f32()[i]);
}

void expect_same(const InputStats& a, const InputStats& b) {
  EXPECT_EQ(a.tokens, b.tokens);
  expect_same(a.abs_max, b.abs_max);
  expect_same(a.mean, b.mean);
  expect_same(a.square_mean, b.square_mean);
  ASSERT_EQ(a.hessian.empty(), b.hessian.empty());
  if (!a.hessian.empty()) expect_same(a.hessian, b.hessian);
}

void flip_byte(const std::string& path, size_t at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(std::streamoff(at));
  const int byte = file.get();
  file.seekp(std::streamoff(at));
  file.put(char(byte ^ 0x10));
}

TEST(StatsFile, ReadsBackWhatWasWritten) {
  const TempDir dir;
  const std::string path = dir.file("stats.h5");
  const StatsMap written = sample();
  write_stats(path, kKey, written);
  write_stats(path, kKey, written);  // replaces the old one
  EXPECT_EQ(dir.entries(), 1u);
  EXPECT_EQ(read_stats_key(path), kKey);
  const StatsMap read = read_stats(path, kKey);
  ASSERT_EQ(read.size(), written.size());
  for (const auto& [name, stats] : written) expect_same(read.at(name), stats);
}

TEST(StatsFile, RefusesAnotherKeyNamingTheField) {
  const TempDir dir;
  const std::string path = dir.file("stats.h5");
  write_stats(path, kKey, {{"head", random_stats(4, false, 1)}});
  const auto refusal = [&](auto change) {
    StatsKey key = kKey;
    change(key);
    return error_of([&] { read_stats(path, key); });
  };
  EXPECT_EQ(refusal([](StatsKey& k) { k.model_hash = "ffff"; }),
            path + ": statistics of another model (model_hash): found 0123abcd, expected ffff");
  EXPECT_THAT(refusal([](StatsKey& k) { k.corpus_name = "x"; }), HasSubstr("corpus_name"));
  EXPECT_THAT(refusal([](StatsKey& k) { k.corpus_hash = "x"; }), HasSubstr("corpus_hash"));
  EXPECT_THAT(refusal([](StatsKey& k) { k.windows = 32; }), HasSubstr("found 64, expected 32"));
  EXPECT_THAT(refusal([](StatsKey& k) { k.window_tokens = 256; }), HasSubstr("window_tokens"));
  EXPECT_THAT(refusal([](StatsKey& k) { k.tool_version = "0.2.0"; }), HasSubstr("tool_version"));
}

TEST(StatsFile, RefusesATruncatedFileAtEveryLength) {
  const TempDir dir;
  const std::string path = dir.file("stats.h5");
  write_stats(path, kKey, {{"layers.0.qkv", random_stats(40, true, 1)}});
  const std::string whole = read_text_file(path);
  for (size_t length = 0; length < whole.size(); length += 97) {
    const std::string cut = dir.write("cut.h5", std::string_view(whole).substr(0, length));
    EXPECT_THAT(error_of([&] { read_stats(cut, kKey); }), HasSubstr(cut)) << length;
  }
  EXPECT_EQ(read_stats(dir.write("cut.h5", whole), kKey).size(), 1u);  // control
}

TEST(StatsFile, NoticesAFlippedBitInTheNumbers) {
  const TempDir dir;
  const std::string path = dir.file("stats.h5");
  const InputStats stats = random_stats(600, true, 1);
  write_stats(path, kKey, {{"head", stats}});
  const std::string whole = read_text_file(path);
  const std::string numbers(reinterpret_cast<const char*>(stats.hessian.data()) + 4000, 400);
  const size_t at = whole.find(numbers);
  ASSERT_NE(at, std::string::npos);
  flip_byte(path, at + 200);
  EXPECT_THAT(error_of([&] { read_stats(path, kKey); }), HasSubstr("head: cannot read hessian"));
}

TEST(StatsFile, AFlippedByteAnywhereIsAnErrorOrChangesNothing) {
  const TempDir dir;
  const StatsMap stats = {{"head", random_stats(16, true, 1)}};
  const std::string path = dir.file("stats.h5");
  write_stats(path, kKey, stats);
  const std::string whole = read_text_file(path);
  int noticed = 0;
  for (size_t at = 0; at < whole.size(); at += 13) {
    const std::string damaged = dir.write("damaged.h5", whole);
    flip_byte(damaged, at);
    try {
      const StatsMap read = read_stats(damaged, kKey);
      expect_same(read.at("head"), stats.at("head"));
    } catch (const Error&) {
      ++noticed;
    }
  }
  EXPECT_GT(noticed, 20);
}

TEST(StatsFile, RefusesWhatIsNotStatistics) {
  const TempDir dir;
  EXPECT_EQ(error_of([&] { read_stats_key(dir.file("none.h5")); }), dir.file("none.h5") + ": no such file");
  const std::string text = dir.write("text.h5", "not HDF5 at all");
  EXPECT_THAT(error_of([&] { read_stats_key(text); }), HasSubstr(text + ": cannot open as HDF5"));
  const std::string orphan = dir.file("missing/stats.h5");
  EXPECT_THAT(error_of([&] { write_stats(orphan, kKey, sample()); }), HasSubstr(orphan));
}

}  // namespace
}  // namespace edgeq
