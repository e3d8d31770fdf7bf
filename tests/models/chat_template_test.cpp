// SPDX-License-Identifier: Apache-2.0
// Prompts equal what transformers renders (tests/golden/make_chat_templates.py).
#include "models/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "tests/models/tokenizer_cases.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using testing::HasSubstr;

const nlohmann::json& golden() {
  static const auto file = nlohmann::json::parse(
      read_test_file(std::string(EDGEQ_SOURCE_DIR) + "/tests/golden/chat_templates.json"));
  return file;
}

std::vector<ChatMessage> conversation(size_t index) {
  std::vector<ChatMessage> messages;
  for (const auto& turn : golden().at("conversations").at(index)) messages.push_back({turn[0], turn[1]});
  return messages;
}

std::string render(std::string_view source) { return render_chat(source, conversation(3), {"<s>", "</s>"}); }

TEST(ChatTemplate, RendersWhatTransformersRenders) {
  for (const auto& [name, entry] : golden().at("templates").items()) {
    for (size_t i = 0; i < entry.at("rendered").size(); ++i) {
      const auto prompt = [&] {
        return render_chat(entry.at("template").get<std::string>(), conversation(i), {"<s>", "</s>"});
      };
      if (entry.at("rendered")[i].is_null()) {
        EXPECT_THROW(prompt(), Error) << name << " " << i;
      } else {
        EXPECT_EQ(prompt(), entry.at("rendered")[i].get<std::string>()) << name << " " << i;
      }
    }
  }
}

TEST(ChatTemplate, SmolLm2InsertsItsSystemPrompt) {
  const std::string source = golden().at("templates").at("smollm2").at("template");
  const std::vector<ChatMessage> messages = {{"user", "Hi"}};
  EXPECT_EQ(
      render_chat(source, messages, {}),
      "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
      "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, RefusesWhatItDoesNotRun) {
  EXPECT_THAT(error_of([] { render(""); }), HasSubstr("no chat template"));
  EXPECT_THAT(error_of([] { render("{{ messages | tojson }}"); }),
              HasSubstr("the filter 'tojson' is not supported"));
  EXPECT_THAT(error_of([] { render("{{ strftime_now('%d') }}"); }), HasSubstr("'strftime_now'"));
  EXPECT_THAT(error_of([] { render("{% include 'x' %}"); }), HasSubstr("line 1: 'include' is not supported"));
  EXPECT_THAT(error_of([] { render("{{ messages }}"); }), HasSubstr("found list, expected a string"));
  EXPECT_THAT(error_of([] { render("a\n{% if x %}"); }), HasSubstr("line 2"));
  EXPECT_THAT(error_of([] { render("{{ 'x"); }), HasSubstr("without an end"));
  EXPECT_THAT(error_of([] { render("{{ raise_exception('no tools') }}"); }),
              HasSubstr("chat template: no tools"));
}

TEST(ChatTemplate, HostileTemplatesEnd) {
  const std::string doubling =
      "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor "
      "%}";
  EXPECT_THAT(error_of([&] { render(doubling); }), HasSubstr("steps"));
  const std::string loops =
      "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor "
      "%}{% endfor %}";
  EXPECT_THAT(error_of([&] { render(loops); }), HasSubstr("steps"));
  EXPECT_THAT(error_of([] { render("{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}"); }),
              HasSubstr("nested"));
  EXPECT_THAT(error_of([] { render("{% set n = namespace() %}{% set n.n = n %}"); }), HasSubstr("namespace"));
  std::string shared = "{% set a = [1] %}";
  for (int i = 0; i < 40; ++i) shared += "{% set a = [a, a] %}";
  EXPECT_THAT(error_of([&] { render(shared + "{% set b = [a] %}{{ b == [a] }}"); }), HasSubstr("too large"));
}

}  // namespace
}  // namespace edgeq
