// SPDX-License-Identifier: Apache-2.0
// A model with fewer tokens is the same model on text whose tokens all stayed.
#include <gtest/gtest.h>

#include "models/export_hf.h"
#include "models/import.h"
#include "recipe/trimmed_model.h"
#include "runtime/runtime.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

const std::string kTiny = std::string(EDGEQ_SOURCE_DIR) + "/configs/models/tiny-llama";

TEST(TrimmedModel, LogitsOfTheTokensThatStayAreThoseOfTheWholeModel) {
  const TempDir dir;
  const std::string words = read_text_file(kTiny + "/heldout.txt").substr(0, 600);
  const std::string text = dir.write("text.txt", words);
  const std::shared_ptr<const Checkpoint> whole = open_checkpoint(kTiny);
  const Trimmed trimmed = trim_vocabulary(whole, {}, {text});
  ASSERT_LT(trimmed.checkpoint->config().vocab, whole->config().vocab / 2);
  const std::vector<TokenId> before = whole->tokenizer().encode(words);
  const std::vector<TokenId> after = trimmed.checkpoint->tokenizer().encode(words);
  const auto a = open_float_runtime(*whole, {}), b = open_float_runtime(*trimmed.checkpoint, {});
  const auto whole_session = a->start({}), session = b->start({});
  const auto expected = whole_session->feed(before, Logits::all), got = session->feed(after, Logits::all);
  ASSERT_EQ(got.rows, expected.rows);
  for (int64_t t = 0; t < got.rows; ++t)
    for (size_t i = 0; i < trimmed.kept.size(); ++i)
      ASSERT_EQ(got(t, int64_t(i)), expected(t, trimmed.kept[i])) << t << " " << i;
}

}  // namespace
}  // namespace edgeq
