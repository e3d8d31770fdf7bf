// SPDX-License-Identifier: Apache-2.0
// Writes Hugging Face folders for tests/interop/hf.py, without a recipe:
//
//   interop_hf_folder MODEL OUT LAYOUT [SCHEME]
//   interop_hf_folder TOKENIZER OUT             tokenizer.json of a tokenizer.json or tokenizer.model
//
// LAYOUT: floats (F32), gptq, gptq-v2, awq, compressed, w8a8. MODEL is what open_checkpoint reads. With a
// SCHEME its linear layers are rounded to that grid, else they are written with the codes that they have.
#include <map>

#include "core/error.h"
#include "formats/mapped_file.h"
#include "models/export_hf.h"
#include "models/sites.h"
#include "tests/interop/run_main.h"
#include "tests/support/quantized_tiny.h"

using namespace edgeq;

namespace {

// Linear layers on the grid of a scheme, zero points at least 1: every layout has a place for them.
class Rounded final : public CodedModel {
 public:
  Rounded(std::shared_ptr<const Checkpoint> checkpoint, const QuantScheme& scheme)
      : checkpoint_(std::move(checkpoint)), kept_(coded_model(checkpoint_)), scheme_(scheme) {}

  const std::string& path() const override { return checkpoint_->path(); }
  const ModelConfig& config() const override { return checkpoint_->config(); }
  Tokenizer tokenizer() const override { return checkpoint_->tokenizer(); }
  std::string provenance_json() const override { return "{}"; }
  WeightForm form(std::string_view site) const override {
    WeightForm form = kept_->form(site);
    if (rounds(site)) form.scheme = scheme_;
    return form;
  }
  CodedWeight weight(std::string_view site) const override {
    if (!rounds(site)) return kept_->weight(site);
    QuantizedTensor codes = round_to_grid(checkpoint_->load(site), scheme_);
    for (uint8_t& zero : codes.zeros) zero = std::max<uint8_t>(zero, 1);
    return {.codes = std::move(codes), .kept = {}};
  }
  Tensor vector(std::string_view name) const override { return checkpoint_->load(name); }

 private:
  static bool rounds(std::string_view site) { return site != "embedding" && site != "head"; }

  std::shared_ptr<const Checkpoint> checkpoint_;
  std::unique_ptr<CodedModel> kept_;
  QuantScheme scheme_;
};

std::string read_file(const std::string& path) {
  const auto file = MappedFile::open(path);
  return std::string(file->text());
}

void write_tokenizer(const std::string& from, const std::string& to) {
  const std::string content = read_file(from);
  const Tokenizer tokenizer = from.ends_with(".model")
                                  ? Tokenizer::from_sentencepiece(std::as_bytes(std::span(content)))
                                  : Tokenizer::from_json(content);
  OutputFile out(to, OutputFile::Existing::replace);
  out.write(tokenizer_json(tokenizer.data()));
  out.commit();
}

void run(int argc, char** argv) {
  const std::map<std::string, HfLayout> layouts = {
      {"floats", HfLayout::floats},         {"gptq", HfLayout::gptq},
      {"gptq-v2", HfLayout::gptq_v2},       {"awq", HfLayout::awq},
      {"compressed", HfLayout::compressed}, {"w8a8", HfLayout::compressed_w8a8}};
  if (argc == 3) return write_tokenizer(argv[1], argv[2]);
  if (argc < 4 || !layouts.contains(argv[3])) throw Error("usage: MODEL OUT LAYOUT [SCHEME]");
  const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(argv[1]);
  std::unique_ptr<CodedModel> model;
  if (argc > 4) {
    model = std::make_unique<Rounded>(checkpoint, parse_scheme(argv[4]));
  } else {
    model = coded_model(checkpoint);
  }
  // Tables in f32, so that nothing is rounded but by the tools themselves.
  export_hf(*model, argv[2],
            {.layout = layouts.at(argv[3]), .dtype = DType::f32, .existing = OutputFile::Existing::replace});
}

}  // namespace

int main(int argc, char** argv) {
  return run_main("interop_hf_folder", [&] { run(argc, argv); });
}
