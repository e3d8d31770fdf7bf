// SPDX-License-Identifier: Apache-2.0
#include "recipe/ship.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "models/any_model.h"
#include "models/carry.h"
#include "models/packed_model.h"
#include "models/verify.h"
#include "tests/models/toy_checkpoint.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kTinyModel = EDGEQ_SOURCE_DIR "/configs/models/tiny-llama";

// Widths that super-blocks of 256 divide.
ModelConfig super_config() {
  ModelConfig config = toy_config("llama");
  config.hidden = 256;
  config.vocab = 1536;
  config.layers.assign(1, {.heads = 4, .kv_heads = 2, .head_dim = 64, .ffn = 512});
  return config;
}

// Widths that 64 divides and 256 does not.
ModelConfig small_config() {
  ModelConfig config = toy_config("llama");
  config.hidden = 64;
  config.vocab = 1536;
  config.layers.assign(2, {.heads = 4, .kv_heads = 2, .head_dim = 16, .ffn = 192});
  return config;
}

// A packed file of random codes; the table is F16.
std::string write_packed(const TempDir& folder, const std::string& scheme, const ModelConfig& config) {
  std::string path = folder.file("toy.packed");
  const ToyModel toy = make_toy(config);
  PackedWriter writer(path);
  uint64_t seed = 1;
  for (const SiteShape& site : all_sites(config)) {
    if (site.name == "embedding") {
      writer.add(site.name, from_f32(toy.tensors.at(site.name), DType::f16));
    } else {
      QuantizedTensor codes = random_codes(parse_scheme(scheme), site.rows, site.cols, ++seed);
      for (uint8_t& zero : codes.zeros) zero = std::max<uint8_t>(zero, 1);  // GPTQ version 1 has no 0
      writer.add(site.name, codes);
    }
  }
  for (const VectorShape& vector : all_vectors(config)) {
    const Tensor& values = toy.tensors.at(vector.name);
    writer.add_vector(vector.name, {values.f32(), size_t(values.size())});
  }
  writer.finish(config, Tokenizer::from_folder(kTinyModel).serialize(), "{}");
  return path;
}

void expect_same_codes(const CodedModel& a, const CodedModel& b) {
  for (const SiteShape& site : all_sites(a.config())) {
    const CodedWeight x = a.weight(site.name), y = b.weight(site.name);
    EXPECT_EQ(x.codes, y.codes) << site.name;
    EXPECT_EQ(largest_difference(x, y), 0) << site.name;
  }
}

// The source's codes with one thing wrong.
class Wrong final : public CodedModel {
 public:
  using Spoil = std::function<void(std::string_view site, QuantizedTensor& codes)>;
  Wrong(const CodedModel& right, Spoil spoil) : right_(right), spoil_(std::move(spoil)) {}
  const std::string& path() const override { return right_.path(); }
  const ModelConfig& config() const override { return right_.config(); }
  Tokenizer tokenizer() const override { return right_.tokenizer(); }
  std::string provenance_json() const override { return right_.provenance_json(); }
  WeightForm form(std::string_view site) const override { return right_.form(site); }
  CodedWeight weight(std::string_view site) const override {
    CodedWeight weight = right_.weight(site);
    if (weight.codes) spoil_(site, *weight.codes);
    return weight;
  }
  Tensor vector(std::string_view name) const override { return right_.vector(name); }

 private:
  const CodedModel& right_;
  Spoil spoil_;
};

TEST(Ship, ThereAndBackIsTheIdentityOnTheTargetsOwnGrid) {
  const std::pair<const char*, const char*> cases[] = {{"packed", "int3-g32-asym"},
                                                       {"gguf", "q4_0"},
                                                       {"gguf", "q4_1"},
                                                       {"gguf", "q5_0"},
                                                       {"gguf", "q5_1"},
                                                       {"gguf", "q8_0"},
                                                       {"gguf", "iq4_nl"},
                                                       {"gguf", "q4_k"},
                                                       {"gguf", "q5_k"},
                                                       {"gguf", "q6_k"},
                                                       {"hdf5", "q4_k"},
                                                       {"gptq", "int4-g32-asym"},
                                                       {"gptq", "int8-g64-sym"},
                                                       {"gptq-v2", "int4-g32-asym"},
                                                       {"awq", "int4-g64-asym"},
                                                       {"compressed-tensors", "int4-g32-sym"},
                                                       {"compressed-tensors", "int8-g64-asym"},
                                                       {"hdf5", "int3-g32-asym"},
                                                       {"hdf5", "int8-channel-sym"},
                                                       {"hdf5", "int4-g32-offset-f32"},
                                                       {"hdf5", "int5-g32-asym-s8"},
                                                       {"hdf5", "iq4nl-g32"}};
  for (const auto& [target, scheme] : cases) {
    const TempDir folder;
    const bool super_blocks = parse_scheme(scheme).super_blocks();
    const auto source =
        open_any_coded(write_packed(folder, scheme, super_blocks ? super_config() : small_config()));
    const Shipped out = ship(
        {.source = *source, .target = *parse_target(target), .output = folder.file("out"), .exact = true});
    for (const Verdict& v : out.verdicts) EXPECT_EQ(v.largest_error, 0) << target << " " << v.site;
    const auto there = open_any_coded(folder.file("out"));
    ship({.source = *there, .target = *parse_target("packed"), .output = folder.file("back"), .exact = true});
    SCOPED_TRACE(std::string(target) + " " + scheme);
    expect_same_codes(*open_any_coded(folder.file("back")), *source);
  }
}

TEST(Ship, NotesThatGptqModelWantsVersionTwoOfForeignZeroPoints) {
  const TempDir folder, other;
  const auto source = open_any_coded(write_packed(folder, "int4-g32-asym", small_config()));
  EXPECT_THAT(parse_target("gptq")->notes(*source), testing::ElementsAre(HasSubstr("gptq-v2")));
  EXPECT_TRUE(parse_target("gptq-v2")->notes(*source).empty());
  const auto symmetric = open_any_coded(write_packed(other, "int4-g32-sym", small_config()));
  EXPECT_TRUE(parse_target("gptq")->notes(*symmetric).empty());
}

TEST(Ship, HowKeysAndValuesAreKeptGoesAlongOrIsNoted) {
  class KeepsCodes final : public CodedModel {
   public:
    explicit KeepsCodes(std::unique_ptr<CodedModel> model) : model_(std::move(model)) {}
    const std::string& path() const override { return model_->path(); }
    const ModelConfig& config() const override { return model_->config(); }
    Tokenizer tokenizer() const override { return model_->tokenizer(); }
    KvScheme kv() const override { return {KvType::int8, KvType::int8}; }
    std::string provenance_json() const override { return model_->provenance_json(); }
    WeightForm form(std::string_view site) const override { return model_->form(site); }
    CodedWeight weight(std::string_view site) const override { return model_->weight(site); }
    Tensor vector(std::string_view name) const override { return model_->vector(name); }

   private:
    std::unique_ptr<CodedModel> model_;
  };
  const TempDir folder;
  const KeepsCodes model(open_any_coded(write_packed(folder, "q8_0", small_config())));
  for (const std::string target : {"packed", "hdf5", "gguf", "gptq"}) {
    const std::string path = folder.file(target);
    const Shipped shipped = ship({.source = model, .target = *parse_target(target), .output = path});
    const bool ours = target == "packed" || target == "hdf5";
    EXPECT_EQ(open_any_coded(path)->kv(), ours ? model.kv() : KvScheme{}) << target;
    EXPECT_EQ(std::ranges::any_of(shipped.notes,
                                  [](const std::string& note) { return note.find("k8v8") != note.npos; }),
              !ours)
        << target;
  }
}

TEST(Ship, CodesAreCarriedToWiderAndFinerGrids) {
  const std::pair<const char*, const char*> cases[] = {{"int3-g64-sym", "Q4_0"},
                                                       {"int4-g64-sym", "Q4_0"},
                                                       {"int6-g32-sym", "Q8_0"},
                                                       {"int5-g64-offset", "Q5_1"}};
  for (const auto& [scheme, type] : cases) {
    const TempDir folder;
    const auto source = open_any_coded(write_packed(folder, scheme, small_config()));
    ship({.source = *source, .target = *parse_target("gguf"), .output = folder.file("out"), .exact = true});
    EXPECT_EQ(open_any_checkpoint(folder.file("out"))->encoding("layers.0.attn.q_proj"), type) << scheme;
  }
}

TEST(Ship, AnOffsetThatIsRoundedOnceIsReportedAndRefusedWhereExactnessIsAskedFor) {
  const TempDir folder;
  const auto source = open_any_coded(write_packed(folder, "int4-g32-asym", small_config()));
  const auto target = parse_target("gguf:q4_1");
  const Shipped out = ship({.source = *source, .target = *target, .output = folder.file("out")});
  double largest = 0;
  for (const Verdict& v : out.verdicts) {
    EXPECT_FALSE(v.anew);
    largest = std::max(largest, v.largest_error);
  }
  EXPECT_GT(largest, 0);
  EXPECT_LT(largest, 0.05);  // half a unit of f16 at 15 * scale, scales below 5: 75 * 2^-11
  EXPECT_THAT(error_of([&] {
                ship({.source = *source, .target = *target, .output = folder.file("exact"), .exact = true});
              }),
              HasSubstr("exact"));
  EXPECT_FALSE(std::filesystem::exists(folder.file("exact")));
}

TEST(Ship, WhatCannotBeKeptIsRefusedByNameUnlessRoundingIsAskedFor) {
  const TempDir folder;
  const auto source = open_any_coded(write_packed(folder, "int8-g32-asym", small_config()));
  const auto target = parse_target("gguf:q4_0");
  EXPECT_THAT(error_of([&] { ship({.source = *source, .target = *target, .output = folder.file("out")}); }),
              AllOf(HasSubstr("layers.0.attn.q_proj"), HasSubstr("int8-g32-asym")));
  const Shipped out =
      ship({.source = *source, .target = *target, .output = folder.file("out"), .choose_anew = true});
  EXPECT_TRUE(std::ranges::any_of(out.verdicts, &Verdict::anew));
}

// Codes of 5 bits, which GPTQ lacks, are chosen anew. Rows of one sign want their zero points at 0.
TEST(Ship, CodesChosenForGptqVersionOneHaveNoZeroPointOfZero) {
  const TempDir folder;
  const auto source = open_any_coded(write_packed(folder, "int5-g32-offset", small_config()));
  const Wrong positive(*source, [](std::string_view, QuantizedTensor& codes) {
    for (float& scale : codes.scales) scale = std::abs(scale);
    for (float& offset : codes.offsets) offset = std::abs(offset);
  });
  const auto shipped = [&](const char* target, const std::string& name) {
    ship({.source = positive,
          .target = *parse_target(target),
          .output = folder.file(name),
          .choose_anew = true});
    const CodedWeight weight = open_any_coded(folder.file(name))->weight("layers.0.mlp.up_proj");
    EXPECT_EQ(weight.codes->scheme.zero, Zero::integer);
    return std::ranges::min(weight.codes->zeros);
  };
  EXPECT_EQ(shipped("gptq", "v1"), 1);
  EXPECT_EQ(shipped("gptq-v2", "v2"), 0);
}

TEST(Ship, ScalesThatAreNoNumbersAreRefused) {
  const TempDir folder;
  const auto source = open_any_coded(write_packed(folder, "q4_0", small_config()));
  const Wrong broken(*source, [](std::string_view site, QuantizedTensor& codes) {
    if (site == "layers.1.mlp.up_proj") codes.scales[7] = std::numeric_limits<float>::quiet_NaN();
  });
  for (const char* target : {"packed", "gguf", "hdf5"})
    EXPECT_THAT(error_of([&] {
                  ship({.source = broken, .target = *parse_target(target), .output = folder.file("out")});
                }),
                HasSubstr(target == std::string("gguf") ? "blk.1.ffn_up" : "layers.1.mlp.up_proj"))
        << target;
  parse_target("packed")->write(broken, folder.file("broken.packed"), OutputFile::Existing::refuse);
  EXPECT_THAT(error_of([&] { diagnose(*open_any_checkpoint(folder.file("broken.packed"))); }),
              HasSubstr("layers.1.mlp.up_proj"));
}

TEST(Ship, AFailureLeavesTheOldFileAndNothingElse) {
  const TempDir folder;
  const auto source = open_any_coded(write_packed(folder, "q4_0", small_config()));
  const std::string old = folder.write("out.gguf", "old");
  const auto target = parse_target("gguf");
  EXPECT_THAT(error_of([&] { ship({.source = *source, .target = *target, .output = old}); }),
              HasSubstr("exists"));
  const RunCheck refuse = [](const std::string&, const CodedModel&) { throw Error("does not compute"); };
  EXPECT_THAT(error_of([&] {
                ship({.source = *source,
                      .target = *target,
                      .output = old,
                      .existing = OutputFile::Existing::replace,
                      .run = refuse});
              }),
              HasSubstr("does not compute"));
  EXPECT_EQ(std::filesystem::file_size(old), 3u);
  EXPECT_EQ(folder.entries(), 2u) << "something was left behind";
}

TEST(Verify, AScaleThatIsOffByFivePercentIsFound) {
  const TempDir folder;
  const auto source = open_any_coded(write_packed(folder, "q4_0", small_config()));
  ship({.source = *source, .target = *parse_target("gguf"), .output = folder.file("out.gguf")});
  const auto file = open_any_checkpoint(folder.file("out.gguf"));
  verify_equal(*file, *source);
  const Wrong wrong(*source, [](std::string_view site, QuantizedTensor& codes) {
    if (site == "layers.1.mlp.down_proj") codes.scales.back() *= 1.05f;
  });
  EXPECT_THAT(error_of([&] { verify_equal(*file, wrong); }), HasSubstr("layers.1.mlp.down_proj"));
}

TEST(Verify, AReferenceGivesAwayWrongZerosRowOrderAndDeadGroups) {
  const TempDir folder;
  const std::string reference = write_packed(folder, "int4-g32-asym", small_config());
  const auto source = open_any_coded(reference);
  const auto findings = [&](const std::string& name, const Wrong::Spoil& spoil) {
    const Wrong wrong(*source, spoil);
    ship({.source = wrong, .target = *parse_target("packed"), .output = folder.file(name)});
    const auto file = open_any_checkpoint(folder.file(name));
    std::string all;
    for (const auto& list : {diagnose(*file), diagnose_against(*file, *open_any_checkpoint(reference))})
      for (const std::string& finding : list) all += finding + "\n";
    return all;
  };
  EXPECT_THAT(findings("right", [](std::string_view, QuantizedTensor&) {}), IsEmpty());
  EXPECT_THAT(findings("zeros",
                       [](std::string_view site, QuantizedTensor& codes) {
                         if (site == "layers.0.mlp.up_proj")
                           for (uint8_t& zero : codes.zeros) zero = uint8_t(zero - 1);
                       }),
              AllOf(HasSubstr("layers.0.mlp.up_proj"), HasSubstr("wrong version")));
  EXPECT_THAT(findings("rows",
                       [](std::string_view site, QuantizedTensor& codes) {
                         if (site != "layers.0.attn.k_proj") return;
                         std::vector<int64_t> rows;
                         for (int64_t r = 0; r < codes.rows; ++r)
                           rows.push_back(r / 16 * 16 + r % 2 * 8 + r % 16 / 2);
                         codes = select_rows(codes, rows);
                       }),
              AllOf(HasSubstr("layers.0.attn.k_proj"), HasSubstr("other rotary order")));
  EXPECT_THAT(findings("dead",
                       [](std::string_view site, QuantizedTensor& codes) {
                         if (site == "layers.1.attn.o_proj") codes.scales[3] = 0;
                       }),
              AllOf(HasSubstr("layers.1.attn.o_proj"), HasSubstr("scale of 0")));
}

}  // namespace
}  // namespace edgeq
