// SPDX-License-Identifier: Apache-2.0
#include "recipe/cached_teacher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::HasSubstr;

constexpr int64_t kVocab = 12;
struct Killed {};
int64_t taught = 0, killed_after = 1 << 20;

// A teacher of few words: what comes next depends on the sequence and the row.
void speak(const TeachInputs& in, const Progress&) {
  for (int64_t s = in.first; s < std::ssize(in.sequences); ++s) {
    if (taught == killed_after) throw Killed();
    ++taught;
    Tensor rows(DType::f32, {learned_count(std::span(&in.sequences[size_t(s)], 1)), kVocab});
    for (int64_t t = 0; t < rows.rows(); ++t) {
      double sum = 0;
      const auto logit = [&](int64_t v) { return std::cos(double(s * 31 + t * 7 + v * v)); };
      for (int64_t v = 0; v < kVocab; ++v) sum += std::exp(logit(v));
      for (int64_t v = 0; v < kVocab; ++v) rows.f32()[t * kVocab + v] = float(logit(v) - std::log(sum));
    }
    in.take(rows.matrix());
  }
}

class CachedTeacherTest : public testing::Test {
 protected:
  CachedTeacherTest() {
    taught = 0, killed_after = 1 << 20;
    for (int s = 0; s < 70; ++s)
      sequences_.push_back({.tokens = {TokenId(s % 12), 1, 2, 3}, .learned = {0, 1, 1, 1}, .documents = {0}});
  }
  CachedTeacher make(const std::string& folder, const std::string& hash = "h", int64_t k = 5) {
    return cache_teacher({.form = {.k = k},
                          .teacher = model_,
                          .teacher_hash = hash,
                          .common_vocab = kVocab,
                          .sequences = sequences_,
                          .folder = folder,
                          .teach = &speak},
                         {});
  }

  TempDir dir_;
  FloatModel model_;
  std::vector<Sequence> sequences_;
};

TEST_F(CachedTeacherTest, SpeaksOnceForAllRuns) {
  const CachedTeacher first = make(dir_.file("t"));
  EXPECT_EQ(taught, 70);
  EXPECT_EQ(first.report.form, "top_k 5");
  EXPECT_EQ(first.report.bytes_per_token * 280, double(first.report.bytes));
  const CachedTeacher second = make(dir_.file("t"));
  EXPECT_EQ(taught, 70);
  EXPECT_EQ(second.report.computed, 0);
  EXPECT_EQ(second.cache.read(69).ids, first.cache.read(69).ids);
}

TEST_F(CachedTeacherTest, GoesOnAfterAKillBehindItsLastWholeFile) {
  const CachedTeacher whole = make(dir_.file("whole"));
  taught = 0, killed_after = 45;  // 13 of them were in memory only
  EXPECT_THROW(make(dir_.file("cut")), Killed);
  taught = 0, killed_after = 1 << 20;
  const CachedTeacher cut = make(dir_.file("cut"));
  EXPECT_EQ(taught, 70 - 32);
  for (const char* part : {"part-00000000.h5", "part-00000032.h5", "part-00000064.h5"})
    EXPECT_EQ(read_text_file(dir_.file("cut") + "/" + part), read_text_file(dir_.file("whole") + "/" + part));
}

TEST_F(CachedTeacherTest, IsRefusedByTheFieldThatDiffers) {
  make(dir_.file("t"));
  EXPECT_THAT(error_of([&] { make(dir_.file("t"), "other"); }),
              HasSubstr("another teacher: found h in f32, expected other in f32"));
  EXPECT_THAT(error_of([&] { make(dir_.file("t"), "h", 6); }), HasSubstr("another k: found 5, expected 6"));
  sequences_[40].tokens[2] = 7;
  EXPECT_THAT(error_of([&] { make(dir_.file("t")); }), HasSubstr("another text (sequences)"));
  EXPECT_THAT(error_of([&] { make(dir_.file("u"), "h", 13); }), HasSubstr("expected 1 to 12"));
  EXPECT_EQ(taught, 70);
}

}  // namespace
}  // namespace edgeq
