// SPDX-License-Identifier: Apache-2.0
#include "models/import.h"

#include <fmt/format.h>

#include <filesystem>
#include <utility>

#include "core/error.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "models/coded_folder.h"
#include "models/file_checkpoint.h"
#include "models/quantization_config.h"
#include "models/sites.h"

namespace edgeq {
namespace {

namespace fs = std::filesystem;

bool is_pickle(const fs::path& path) {
  const auto extension = path.extension();
  return extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".ckpt";
}

[[noreturn]] void refuse_pickle(const std::string& path) {
  throw Error(
      fmt::format("{}: pickled weights are not read, since opening one runs the code inside it", path))
      .set_hint(
          "convert it once with transformers: AutoModelForCausalLM.from_pretrained(...)"
          ".save_pretrained(folder)");
}

std::unique_ptr<Checkpoint> open_folder(const std::string& path) {
  const fs::path folder(path);
  std::error_code ignored;
  const auto exists = [&](const char* name) { return fs::exists(folder / name, ignored); };
  if (!exists("config.json"))
    throw Error(fmt::format("{}: there is no config.json; expected a Hugging Face folder", path));
  if (!exists("model.safetensors") && !exists("model.safetensors.index.json"))
    for (const auto& item : fs::directory_iterator(folder, ignored))
      if (is_pickle(item.path())) refuse_pickle(item.path().string());
  const std::string config_path = (folder / "config.json").string();
  ModelConfig config =
      with_context(config_path, [&] { return parse_hf_config(read_config_file(config_path)); });
  auto tensors = std::make_unique<SafetensorsFolder>(path);
  MappedFiles files;
  for (const SafetensorsFile& shard : tensors->shards()) files.push_back(shard.file());
  std::unique_ptr<TensorReader> reader = std::move(tensors);
  const auto release = [&](const StoredCodes& layer) {
    for (const auto& part : layer.parts()) let_go(files, part);
  };
  if (const auto quantization = find_quantization_config(path))
    with_context(path, [&] { reader = open_coded_folder(std::move(reader), *quantization, release); });
  const auto tokenizer = [](const FileCheckpoint& checkpoint) {
    return Tokenizer::from_folder(checkpoint.path());
  };
  return with_context(path, [&] {
    return std::make_unique<FileCheckpoint>(path, std::move(config), Naming::hf, std::move(reader),
                                            std::move(files), tokenizer);
  });
}

std::unique_ptr<Checkpoint> open_gguf(const std::string& path) {
  auto reader = std::make_unique<GgufFile>(path);
  ModelConfig config = read_gguf_config(*reader);
  MappedFiles files = {reader->file()};
  const auto tokenizer = [](const FileCheckpoint& checkpoint) {
    return Tokenizer::from_gguf(static_cast<const GgufFile&>(checkpoint.reader()));
  };
  return with_context(path, [&] {
    return std::make_unique<FileCheckpoint>(path, std::move(config), Naming::gguf, std::move(reader),
                                            std::move(files), tokenizer);
  });
}

Site load_site(const Checkpoint& checkpoint, const SiteShape& shape) {
  Site site{.name = shape.name, .weight = checkpoint.load(shape.name), .bias = {}};
  if (shape.bias) site.bias = checkpoint.load(shape.name + ".bias");
  return site;
}

}  // namespace

std::unique_ptr<Checkpoint> open_checkpoint(const std::string& path) {
  std::error_code error;
  const auto status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) throw Error(fmt::format("{}: no such file or folder", path));
  if (fs::is_directory(status)) return open_folder(path);
  if (is_gguf(path)) return open_gguf(path);
  if (is_pickle(path)) refuse_pickle(path);
  Error refusal(fmt::format("{}: not a checkpoint; expected a Hugging Face folder or a GGUF file", path));
  if (fs::path(path).extension() == ".safetensors")
    refusal.set_hint("give the folder that holds config.json and the safetensors files");
  throw refusal;
}

Block load_block(const Checkpoint& checkpoint, int block) {
  Block result;
  result.index = block;
  for (const SiteShape& site : layer_sites(checkpoint.config(), block))
    result.sites.push_back(load_site(checkpoint, site));
  // Where what attention and feed-forward give is normed or scaled, it is not added as it is.
  const ModelConfig& config = checkpoint.config();
  const bool adds = !config.post_norm && config.residual_scale == 1;
  const int up = 4, down = int(result.sites.size()) - 1;
  result.stages = {{"qkv", {0, 1, 2}}, {"o", {3}, adds}};
  result.stages.push_back(config.gated_mlp ? Stage{"gate_up", {up, up + 1}} : Stage{"up", {up}});
  result.stages.push_back({"down", {down}, adds});
  for (const VectorShape& norm : layer_norms(checkpoint.config(), block))
    result.others.push_back({norm.name, checkpoint.load(norm.name)});
  return result;
}

Ends load_ends(const Checkpoint& checkpoint) {
  Ends ends;
  ends.embedding = {.name = "embedding", .weight = checkpoint.load("embedding"), .bias = {}};
  for (const VectorShape& vector : end_vectors(checkpoint.config()))
    ends.others.push_back({vector.name, checkpoint.load(vector.name)});
  ends.head.name = "head";
  if (!checkpoint.config().tied_head) ends.head.weight = checkpoint.load("head");
  return ends;
}

}  // namespace edgeq
