// SPDX-License-Identifier: Apache-2.0
// Writes the logits of one token sequence, for comparing engines with each other and with other programs
// (parity_transformers.py).
//   dump_logits torch|runtime MODEL TOKENS OUT
// MODEL is a folder, a GGUF or a packed file; TOKENS holds little-endian i32 token ids; OUT receives
// [tokens, vocab] f32. The runtime multiplies quantized weights in float here (Activations::f32), so both
// engines compute the same function.
#include <fmt/format.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/torch_engine.h"
#include "core/error.h"
#include "formats/mapped_file.h"
#include "formats/output_file.h"
#include "models/packed_checkpoint.h"
#include "runtime/runtime.h"

namespace edgeq {
namespace {

std::unique_ptr<LanguageModel> open_model(const std::string& engine, const std::string& path) {
  const bool packed = std::filesystem::is_regular_file(path) && !path.ends_with(".gguf");
  const RuntimeOptions exact{.activations = Activations::f32};
  if (engine == "torch")
    return torch_module().open_model(packed ? *open_packed_checkpoint(PackedModel::open(path))
                                            : *open_checkpoint(path));
  if (engine == "runtime")
    return packed ? open_packed_runtime(path, exact) : open_float_runtime(*open_checkpoint(path), exact);
  throw Error(fmt::format("engine {} is not torch or runtime", engine));
}

std::vector<TokenId> read_tokens(const std::string& path) {
  const auto file = MappedFile::open(path);
  std::vector<TokenId> tokens(file->bytes().size() / sizeof(TokenId));
  std::memcpy(tokens.data(), file->bytes().data(), tokens.size() * sizeof(TokenId));
  return tokens;
}

void dump(const std::string& engine, const std::string& model_path, const std::string& tokens_path,
          const std::string& out_path) {
  const auto model = open_model(engine, model_path);
  const std::vector<TokenId> tokens = read_tokens(tokens_path);
  const auto session = model->start({.max_tokens = std::ssize(tokens)});
  const auto logits = session->feed(tokens, Logits::all);
  OutputFile out(out_path, OutputFile::Existing::replace);
  for (int64_t r = 0; r < logits.rows; ++r)
    out.write(std::as_bytes(std::span(logits.row(r), size_t(logits.cols))));
  out.commit();
}

}  // namespace
}  // namespace edgeq

int main(int argc, char** argv) {
  if (argc != 5) {
    fmt::print(stderr, "usage: dump_logits torch|runtime MODEL TOKENS OUT\n");
    return 2;
  }
  try {
    edgeq::dump(argv[1], argv[2], argv[3], argv[4]);
  } catch (const edgeq::Error& error) {
    fmt::print(stderr, "dump_logits: {}\n", error.what());
    if (!error.hint().empty()) fmt::print(stderr, "hint: {}\n", error.hint());
    return 1;
  }
}
