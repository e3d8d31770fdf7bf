// SPDX-License-Identifier: Apache-2.0
// Tokenizers from arbitrary bytes (tokenizer.json, tokenizer.model, GGUF, edgeq's own form) and chat
// templates: only Error may come out. An accepted tokenizer survives its own form and gives ids of its
// vocabulary.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/error.h"
#include "formats/gguf.h"
#include "models/chat_template.h"
#include "models/tokenizer.h"

using namespace edgeq;

namespace {

constexpr std::string_view kText =
    " The  river's 12345\n\n\tवे नहीं 河水 é e\u0301 👩‍💻 "
    "<s></s><|im_end|>\xFF\xE2\x82 ";

void check_accepted(const Tokenizer& tokenizer) {
  EDGEQ_CHECK(Tokenizer::deserialize(tokenizer.serialize()).serialize() == tokenizer.serialize(),
              "a tokenizer survives its own form");
  for (const SpecialTokens special : {SpecialTokens::plain, SpecialTokens::parse}) {
    const std::vector<TokenId> tokens = tokenizer.encode(kText, special);
    for (const TokenId token : tokens) {
      EDGEQ_CHECK(token >= 0 && token < tokenizer.vocab_size(), "ids are of the vocabulary");
    }
    tokenizer.decode(tokens, special);
  }
  const ChatMessage messages[] = {{"user", "a"}, {"assistant", "b"}, {"user", "c"}};
  tokenizer.apply_chat_template(messages);
}

template <class Read>
void try_reading(Read&& read) {
  try {
    check_accepted(read());
  } catch (const Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.starts_with("GGUF")) {
    try_reading([&] {
      return Tokenizer::from_gguf(GgufFile(MappedFile::from_bytes("input", {bytes.begin(), bytes.end()})));
    });
  } else if (text.starts_with("EQTK")) {
    try_reading([&] { return Tokenizer::deserialize(bytes); });
  } else if (text.starts_with("{\"")) {
    try_reading([&] { return Tokenizer::from_json(text); });
  } else if (text.starts_with("{") || text.find("{%") != std::string_view::npos) {
    const ChatMessage messages[] = {{"system", "s"}, {"user", "a"}, {"assistant", "b"}, {"user", "c"}};
    try {
      render_chat(text, messages, {"<s>", "</s>"});
    } catch (const Error&) {
    }
  } else {
    try_reading([&] { return Tokenizer::from_sentencepiece(bytes); });
  }
  return 0;
}
