// SPDX-License-Identifier: Apache-2.0
#include "distill/traces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "models/prompt.h"
#include "tests/distill/well_formed.h"
#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string line_of(int i) {
  const std::string n = std::to_string(i);
  return R"({"prompt": "What is )" + n + R"( plus one?", "trace": "One more than )" + n +
         R"(.", "answer": )" + std::to_string(i + 1) + "}\n";
}

std::string lines_of(int count) {
  std::string lines;
  for (int i = 0; i < count; ++i) lines += line_of(i);
  return lines;
}

class TracesTest : public testing::Test {
 protected:
  Dataset read(const std::string& text, const DataOptions& options, const TraceForm& form = {}) const {
    const std::vector<std::string> paths{dir_.write("t.jsonl", text)};
    return sequences_of_traces(paths, tokenizer_, options, form);
  }
  // What the loss counts of a sequence, one string for each of its documents.
  std::vector<std::string> learned_text(const Sequence& s) const {
    std::vector<std::string> texts;
    for (size_t d = 0; d < s.documents.size(); ++d) {
      const auto end = d + 1 < s.documents.size() ? size_t(s.documents[d + 1]) : s.tokens.size();
      std::vector<TokenId> tokens;
      for (auto i = size_t(s.documents[d]); i < end; ++i)
        if (s.learned[i] == 1) tokens.push_back(s.tokens[i]);
      texts.push_back(tokenizer_.decode(tokens, SpecialTokens::parse));
    }
    return texts;
  }

  TempDir dir_;
  Tokenizer tokenizer_ = tiny_tokenizer();
};

TEST_F(TracesTest, OnlyTraceAnswerAndEndAreLearned) {
  const Dataset data = read(line_of(7), {.length = 128});
  ASSERT_EQ(data.train.size(), 1u);
  const Sequence& s = data.train.front();
  expect_well_formed(data.train, 128);
  ASSERT_FALSE(tokenizer_.end_tokens().empty());
  const TokenId end = tokenizer_.end_tokens().front();
  EXPECT_EQ(s.tokens.back(), end);
  EXPECT_EQ(learned_text(s),
            std::vector{"One more than 7.\n#### 8" + tokenizer_.decode({{end}}, SpecialTokens::parse)});
  EXPECT_EQ(tokenizer_.decode(s.tokens), "What is 7 plus one?\nOne more than 7.\n#### 8");
  // The prompt is what a model is given when it answers.
  const auto prompt = prompt_tokens("What is 7 plus one?", tokenizer_, {});
  EXPECT_TRUE(std::equal(prompt.begin(), prompt.end(), s.tokens.begin()));
  EXPECT_EQ(std::count(s.learned.begin(), s.learned.end(), 0), std::ssize(prompt));
}

TEST_F(TracesTest, SpellingsOfALine) {
  const auto one = [&](const std::string& line, TraceFields fields = TraceFields::completion) {
    return read_traces(dir_.write("s.jsonl", line), fields, 0).traces.at(0);
  };
  const Trace gsm = one(R"({"question": "Q", "answer": "A is 6.\nSo 7.\n#### 42"})");
  EXPECT_EQ(gsm.prompt, "Q");
  EXPECT_EQ(gsm.trace, "A is 6.\nSo 7.");
  EXPECT_EQ(gsm.answer, "42");
  EXPECT_EQ(completion(gsm, false), "A is 6.\nSo 7.\n#### 42");
  EXPECT_EQ(completion(gsm, true), "#### 42");
  EXPECT_EQ(completion(one(R"({"prompt": "Q", "answer": "some text"})"), false), "some text");
  EXPECT_EQ(completion(one(R"({"prompt": "Q", "trace": "some text"})"), false), "some text");
  EXPECT_EQ(completion(one(R"({"prompt": "Q", "answer": "#### 42"})"), false), "#### 42");
  EXPECT_EQ(completion(one(R"({"prompt": "Q", "answer": "#### 42"})"), true), "#### 42");
  EXPECT_EQ(completion(one(R"({"prompt": "Q", "answer": 42})"), true), "#### 42");
  EXPECT_EQ(one(R"({"prompt": "Q"})", TraceFields::prompt).answer, "");
}

TEST_F(TracesTest, WhatIsTakenApartGoesTogetherAgain) {
  for (const std::string written :
       {"so\n#### 42", "#### 42", "so 42", "a\n#### 1\nb\n#### 2", "\n#### 42", "a\n#### ", "so\n####42"}) {
    const Trace trace = make_trace("Q", written);
    EXPECT_EQ(completion(trace, false), written);
    const TraceFile back = read_traces(dir_.write("w.jsonl", trace_line(trace)), TraceFields::completion, 0);
    EXPECT_EQ(completion(back.traces.at(0), false), written);
  }
}

TEST_F(TracesTest, ManyShareASequenceAndNoneIsCut) {
  const Dataset data = read(lines_of(100), {.length = 90});
  expect_well_formed(data.train, 90);
  std::set<std::string> learned;
  for (const Sequence& s : data.train)
    for (const std::string& text : learned_text(s)) EXPECT_TRUE(learned.insert(text).second);
  EXPECT_EQ(learned.size(), 100u);
  EXPECT_LT(data.train.size(), 60u);
  EXPECT_EQ(data.counts.documents, 100);
}

TEST_F(TracesTest, OneLongerThanASequenceIsCountedAndLeftOut) {
  std::string text = lines_of(5), words;
  for (int i = 0; i < 200; ++i) words += "and so on ";
  text += R"({"prompt": "Q", "trace": ")" + words +
          R"("})"
          "\n";
  const Dataset data = read(text, {.length = 90});
  EXPECT_EQ(data.counts.too_long, 1);
  EXPECT_THAT(data_text(data), HasSubstr("1 too long for a sequence left out"));
  EXPECT_THAT(error_of([&] { read(text, {.length = 3}); }),
              AllOf(HasSubstr("nothing to learn from"), HasSubstr("6 too long")));
}

TEST_F(TracesTest, BrokenLinesAreCountedNamedAndRefusedPastALimit) {
  const std::string text = lines_of(120) + "{\"prompt\": \"half a li\n" + line_of(500);
  const Dataset data = read(text, {.length = 90});
  EXPECT_EQ(data.counts.broken, 1);
  EXPECT_EQ(data.counts.first_broken, "t.jsonl: line 121: no JSON");
  EXPECT_EQ(data.counts.documents, 121);
  EXPECT_THAT(data_text(data), HasSubstr("1 broken lines left out (t.jsonl: line 121: no JSON)"));
  EXPECT_THAT(error_of([&] { read(text, {.length = 90}, {.broken_limit = 0.001}); }),
              AllOf(HasSubstr("t.jsonl: 1 of 122 lines are broken"), HasSubstr("at most 0.1 %"),
                    HasSubstr("line 121: no JSON")));
  EXPECT_THAT(error_of([&] { read(text, {}, {.broken_limit = 2}); }), HasSubstr("a share from 0 to 1"));
}

TEST_F(TracesTest, EveryKindOfBrokenLineIsNamed) {
  const auto refused = [&](const std::string& line, const TraceForm& form = {}) {
    return error_of([&] { read(line + "\n", {.length = 90}, form); });
  };
  EXPECT_THAT(refused("oops"), HasSubstr("line 1: no JSON"));
  EXPECT_THAT(refused("[1]"), HasSubstr("line 1: no JSON object"));
  EXPECT_THAT(refused("{\"answer\": \"a\"}"), HasSubstr("line 1: no prompt"));
  EXPECT_THAT(refused("{\"prompt\": \"\", \"answer\": \"a\"}"), HasSubstr("line 1: no prompt"));
  EXPECT_THAT(refused("{\"prompt\": [\"Q\"], \"answer\": \"a\"}"), HasSubstr("line 1: prompt is no text"));
  EXPECT_THAT(refused("{\"prompt\": \"Q\"}"), HasSubstr("line 1: no trace and no answer"));
  EXPECT_THAT(refused("{\"prompt\": \"Q\", \"trace\": \"t\"}", {.answers_only = true}),
              HasSubstr("no answer"));
  EXPECT_THAT(refused("{\"prompt\": \"\xff\", \"trace\": \"t\"}"), HasSubstr("line 1: no JSON"));
  EXPECT_THAT(refused("\n \n"), HasSubstr("no traces in it"));
  const std::vector<std::string> missing{dir_.file("none.jsonl")};
  EXPECT_THAT(error_of([&] { sequences_of_traces(missing, tokenizer_, {}, {}); }), HasSubstr("none.jsonl"));
  EXPECT_THAT(error_of([&] { sequences_of_traces({}, tokenizer_, {}, {}); }), HasSubstr("at least one file"));
  EXPECT_THAT(error_of([&] { read(line_of(1), {.length = 90}, {.chat = true}); }), HasSubstr("template"));
}

TEST_F(TracesTest, DuplicatesAreLeftOutAndTooManyRefused) {
  EXPECT_EQ(read(lines_of(20) + lines_of(10), {.length = 90}).counts.duplicates, 10);
  EXPECT_THAT(error_of([&] { read(lines_of(5) + lines_of(5) + lines_of(5), {.length = 90}); }),
              HasSubstr("10 of 15 documents"));
}

TEST_F(TracesTest, TracesOfOnePromptAreHeldOutTogether) {
  std::string text;
  for (int i = 0; i < 100; ++i)
    for (const char* way : {"first", "second", "third"})
      text += R"({"prompt": "Question )" + std::to_string(i * 1009) + R"(.", "trace": "The )" + way +
              R"( way."})"
              "\n";
  const DataOptions options{.length = 64, .held_out = 0.2, .seed = 3};
  const Dataset data = read(text, options);
  const auto prompts = [&](const std::vector<Sequence>& sequences) {
    std::multiset<std::vector<TokenId>> found;
    for (const Sequence& s : sequences)
      for (const int64_t d : s.documents) {
        std::vector<TokenId> prompt;
        for (auto i = size_t(d); s.learned[i] == 0; ++i) prompt.push_back(s.tokens[i]);
        found.insert(prompt);
      }
    return found;
  };
  const auto train = prompts(data.train), held_out = prompts(data.held_out);
  EXPECT_EQ(train.size() + held_out.size(), 300u);
  EXPECT_NEAR(double(held_out.size()), 60, 6);
  for (const auto& prompt : held_out) {
    EXPECT_EQ(train.count(prompt), 0u);
    EXPECT_EQ(held_out.count(prompt), 3u);
  }
  EXPECT_EQ(sequences_hash(read(text, options).train), sequences_hash(data.train));
}

TEST(ChatTraces, AreRenderedByTheTemplateAndEndAsATurnDoes) {
  const std::string folder = std::string(EDGEQ_SOURCE_DIR) + "/tests/golden/tokenizers/";
  const std::string config =
      R"({"eos_token": "<|endoftext|>", "chat_template": "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"})";
  const Tokenizer tokenizer = Tokenizer::from_json(read_text_file(folder + "qwen.json"), config);
  const TempDir dir;
  const std::vector<std::string> paths{dir.write("t.jsonl", R"({"prompt": "Hello?", "trace": "Well."})")};
  const Dataset data =
      sequences_of_traces(paths, tokenizer, {.length = 64}, {.chat = true, .system = "Be brief."});
  ASSERT_EQ(data.train.size(), 1u);
  const Sequence& s = data.train.front();
  EXPECT_EQ(tokenizer.decode(s.tokens, SpecialTokens::parse),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello?<|im_end|>\n"
            "<|im_start|>assistant\nWell.<|im_end|>");
  EXPECT_EQ(s.learned.back(), 1);
  EXPECT_EQ(turn_end(tokenizer), s.tokens.back());
}

}  // namespace
}  // namespace edgeq
