// SPDX-License-Identifier: Apache-2.0
#include "models/archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "formats/hdf5_file.h"
#include "models/any_model.h"
#include "models/sites.h"
#include "tests/models/toy_checkpoint.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string kTinyModel = EDGEQ_SOURCE_DIR "/configs/models/tiny-llama";
const std::string kSite = "layers.0.attn.q_proj";

ModelConfig archive_config(int64_t width) {
  ModelConfig config = toy_config("llama");
  config.hidden = width;
  config.vocab = 1536;
  config.layers.assign(1, {.heads = 4, .kv_heads = 2, .head_dim = width / 4, .ffn = width});
  return config;
}

// Random codes, and a table of floats.
class ToyCoded final : public CodedModel {
 public:
  ToyCoded(const std::string& scheme, DType table, int64_t width)
      : config_(archive_config(width)), toy_(make_toy(config_)), table_(table) {
    uint64_t seed = 1;
    for (const SiteShape& site : all_sites(config_))
      if (site.name != "embedding")
        codes_.emplace(site.name, random_codes(parse_scheme(scheme), site.rows, site.cols, ++seed));
  }
  const std::string& path() const override { return path_; }
  const ModelConfig& config() const override { return config_; }
  Tokenizer tokenizer() const override { return Tokenizer::from_folder(kTinyModel); }
  KvScheme kv() const override { return {KvType::int8, KvType::int4}; }
  std::string provenance_json() const override { return R"({"tool":"edgeq"})"; }
  WeightForm form(std::string_view site) const override {
    const CodedWeight w = weight(site);
    return {w.codes ? std::optional(w.codes->scheme) : std::nullopt, table_, w.rows(), w.cols()};
  }
  CodedWeight weight(std::string_view site) const override {
    const auto found = codes_.find(std::string(site));
    if (found != codes_.end()) return {.codes = found->second, .kept = {}};
    return {.codes = {}, .kept = from_f32(toy_.tensors.at(std::string(site)), table_)};
  }
  Tensor vector(std::string_view name) const override { return toy_.tensors.at(std::string(name)); }

 private:
  std::string path_ = "toy";
  ModelConfig config_;
  ToyModel toy_;
  DType table_;
  std::map<std::string, QuantizedTensor> codes_;
};

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.empty() || std::equal(a.data(), a.data() + a.bytes(), b.data()));
}

void read_all(const CodedModel& model) {
  for (const SiteShape& site : all_sites(model.config())) model.weight(site.name);
  for (const VectorShape& vector : all_vectors(model.config())) model.vector(vector.name);
  model.tokenizer();
}

TEST(Archive, ReadsBackEverySchemeAndTypeOfFloatsAsItWasWritten) {
  const std::pair<const char*, DType> cases[] = {{"int2-g32-asym", DType::f32},
                                                 {"int4-g64-sym", DType::f16},
                                                 {"int8-channel-sym", DType::bf16},
                                                 {"int4-g32-offset", DType::f32},
                                                 {"int4-g32-offset-f32", DType::f32},
                                                 {"int4-g32-asym-s8", DType::f16},
                                                 {"q4_k", DType::f16},
                                                 {"q5_k", DType::f16},
                                                 {"q6_k", DType::bf16},
                                                 {"iq4_nl", DType::f16}};
  for (const auto& [scheme, table] : cases) {
    SCOPED_TRACE(scheme);
    const TempDir folder;
    const ToyCoded model(scheme, table, 256);
    const std::string path = folder.file("toy.h5");
    const int64_t bytes = write_archive(model, path, OutputFile::Existing::refuse);
    EXPECT_EQ(bytes, int64_t(std::filesystem::file_size(path)));
    const auto read = open_any_coded(path);
    EXPECT_EQ(read->config(), model.config());
    EXPECT_EQ(read->kv(), model.kv());
    EXPECT_EQ(read->provenance_json(), model.provenance_json());
    EXPECT_EQ(read->tokenizer().serialize(), model.tokenizer().serialize());
    for (const SiteShape& site : all_sites(model.config())) {
      const CodedWeight a = read->weight(site.name), b = model.weight(site.name);
      EXPECT_EQ(a.codes, b.codes) << site.name;
      EXPECT_TRUE(same_bytes(a.kept, b.kept)) << site.name;
    }
    for (const VectorShape& vector : all_vectors(model.config()))
      EXPECT_TRUE(same_bytes(read->vector(vector.name), model.vector(vector.name))) << vector.name;
  }
}

TEST(Archive, EqualModelsGiveEqualBytes) {
  const TempDir folder;
  const ToyCoded model("int4-g32-asym", DType::f16, 64);
  write_archive(model, folder.file("a.h5"), OutputFile::Existing::refuse);
  write_archive(model, folder.file("b.h5"), OutputFile::Existing::refuse);
  EXPECT_EQ(read_text_file(folder.file("a.h5")), read_text_file(folder.file("b.h5")));
}

// Writes the archive of a model as models/archive.h describes it, with one thing changed.
class Forger {
 public:
  std::string format = "edgeq-archive", vector_left_out, site_left_out, extra_site;
  int64_t version = 1, rows_more = 0;
  std::string scheme = "int4-g32-asym";
  // Called with the name of each array of kSite, and "vector" for the last norm; what comes back empty is
  // left out.
  std::function<void(const std::string& array, Tensor& values)> change = [](const std::string&, Tensor&) {};

  std::string write(const std::string& path) const {
    const ToyCoded model("int4-g32-asym", DType::f16, 64);
    Hdf5Group root = create_hdf5(path);
    root.write_text("format", format);
    root.write_number("version", version);
    put(root, "config", bytes(config_to_json(model.config())));
    put(root, "provenance", bytes("{}"));
    const auto tokenizer = model.tokenizer().serialize();
    put(root, "tokenizer", bytes({reinterpret_cast<const char*>(tokenizer.data()), tokenizer.size()}));
    Hdf5Group weights = root.create_group("weights");
    for (const SiteShape& site : all_sites(model.config()))
      if (site.name != site_left_out)
        put_weight(weights.create_group(site.name), site, model.weight(site.name));
    if (!extra_site.empty()) weights.create_group(extra_site);
    Hdf5Group vectors = root.create_group("vectors");
    for (const VectorShape& vector : all_vectors(model.config())) {
      Tensor values = model.vector(vector.name);
      if (vector.name == "final_norm") change("vector", values);
      if (vector.name != vector_left_out) put(vectors, vector.name, values);
    }
    root.flush();
    return path;
  }

 private:
  static Tensor bytes(std::string_view text) { return filled(DType::u8, {std::ssize(text)}, text.data()); }
  static Tensor filled(DType dtype, Shape shape, const void* from) {
    Tensor tensor(dtype, std::move(shape));
    std::copy_n(static_cast<const std::byte*>(from), tensor.bytes(), tensor.data());
    return tensor;
  }
  static void put(Hdf5Group& group, const std::string& name, const Tensor& values) {
    if (!values.empty()) group.write(name, values.view(), Hdf5Group::Packing::deflate);
  }
  void put_weight(Hdf5Group group, const SiteShape& site, const CodedWeight& weight) const {
    const bool changed = site.name == kSite;
    group.write_number("rows", site.rows + (changed ? rows_more : 0));
    group.write_number("cols", site.cols);
    if (!weight.codes) {
      group.write_text("dtype", "F16");
      return put(group, "values", weight.kept);
    }
    const QuantizedTensor& q = *weight.codes;
    group.write_text("scheme", changed ? scheme : "int4-g32-asym");
    Tensor codes(DType::u8, {q.rows, q.cols});
    for (int64_t r = 0; r < q.rows; ++r)
      q.get_codes(r, {reinterpret_cast<uint8_t*>(codes.data()) + r * q.cols, size_t(q.cols)});
    const Tensor zeros = filled(DType::u8, {q.rows, q.groups()}, q.zeros.data());
    const Tensor scales = from_f32(filled(DType::f32, {q.rows, q.groups()}, q.scales.data()), DType::f16);
    for (auto [name, values] :
         {std::pair("codes", codes), std::pair("zeros", zeros), std::pair("scales", scales)}) {
      if (changed) change(name, values);
      put(group, name, values);
    }
  }
};

std::string refusal(const Forger& forger) {
  const TempDir folder;
  const std::string path = forger.write(folder.file("forged.h5"));
  std::string message = error_of([&] { read_all(*open_any_coded(path)); });
  EXPECT_THAT(message, HasSubstr(path));
  EXPECT_EQ(message.find('\n'), message.npos);
  return message;
}

// The same with one array changed.
std::string refusal(const std::string& array, const std::function<void(Tensor&)>& change) {
  Forger forger;
  forger.change = [&](const std::string& name, Tensor& values) {
    if (name == array) change(values);
  };
  return refusal(forger);
}

TEST(Archive, WhatIsWrittenByTheBookIsRead) {  // the control of the refusals below
  const TempDir folder;
  read_all(*open_any_coded(Forger().write(folder.file("toy.h5"))));
}

TEST(Archive, RefusesMissingArraysByName) {
  const auto remove = [](Tensor& values) { values = Tensor(); };
  EXPECT_THAT(refusal("codes", remove), HasSubstr(kSite + ": holds neither codes nor values"));
  EXPECT_THAT(refusal("zeros", remove), HasSubstr(kSite + ": zeros is missing"));
  EXPECT_THAT(refusal("scales", remove), HasSubstr(kSite + ": scales is missing"));
  EXPECT_THAT(refusal("vector", remove), HasSubstr("vector final_norm is missing"));
  Forger forger;
  forger.site_left_out = kSite;
  EXPECT_THAT(refusal(forger), HasSubstr(kSite + " is missing"));
}

TEST(Archive, RefusesWrongShapesAndTypesByName) {
  EXPECT_THAT(refusal("codes",
                      [](Tensor& v) {
                        v = Tensor(DType::u8, {64, 32});
                      }),
              HasSubstr(kSite + ": codes has shape [64, 32]; expected [64, 64]"));
  EXPECT_THAT(refusal("codes", [](Tensor& v) { v = Tensor(DType::u8, {64 * 64}); }),
              HasSubstr(kSite + ": codes has 1 dimensions; expected 2"));
  EXPECT_THAT(refusal("codes",
                      [](Tensor& v) {
                        v = Tensor(DType::i8, {64, 64});
                      }),
              HasSubstr(kSite + ": codes is not of type U8"));
  EXPECT_THAT(refusal("scales", [](Tensor& v) { v = to_f32(v.view()); }),
              HasSubstr(kSite + ": scales is not of type F16"));
  EXPECT_THAT(refusal("scales",
                      [](Tensor& v) {
                        v = Tensor(DType::f16, {64, 1});
                      }),
              HasSubstr(kSite + ": scales has shape [64, 1]; expected [64, 2]"));
  EXPECT_THAT(refusal("vector", [](Tensor& v) { v = Tensor(DType::f32, {63}); }),
              HasSubstr("final_norm has shape [63]; expected [64]"));
}

TEST(Archive, RefusesValuesThatMeanNothingByPlace) {
  const auto set_byte = [](Tensor& v) { v.data()[5] = std::byte(16); };
  EXPECT_THAT(refusal("codes", set_byte), HasSubstr(kSite + ": codes holds 16 at 5; expected 0 to 15"));
  EXPECT_THAT(refusal("zeros", set_byte), HasSubstr(kSite + ": zeros holds 16 at 5; expected 0 to 15"));
  const auto set_nan = [](Tensor& v) {
    Tensor floats = to_f32(v.view());
    floats.f32()[3] = std::nanf("");
    v = from_f32(floats, v.dtype());
  };
  EXPECT_THAT(refusal("scales", set_nan), HasSubstr(kSite + ": scales holds nan at 3"));
  EXPECT_THAT(refusal("vector", set_nan), HasSubstr("final_norm holds nan at 3"));
}

TEST(Archive, RefusesAttributesThatContradictTheConfigOrTheFormat) {
  const auto with = [](auto&& set) {
    Forger forger;
    set(forger);
    return refusal(forger);
  };
  EXPECT_THAT(with([](Forger& f) { f.rows_more = 1; }),
              HasSubstr(kSite + ": is [65, 64]; the config calls for [64, 64]"));
  EXPECT_THAT(with([](Forger& f) { f.rows_more = INT64_MAX - 64; }),
              HasSubstr("is [9223372036854775807, 64]"));
  EXPECT_THAT(with([](Forger& f) { f.scheme = "int9-g32-sym"; }), AllOf(HasSubstr(kSite), HasSubstr("int9")));
  EXPECT_THAT(with([](Forger& f) { f.scheme = "q4_k"; }), AllOf(HasSubstr(kSite), HasSubstr("256")));
  EXPECT_THAT(with([](Forger& f) { f.extra_site = "layers.7.x"; }), HasSubstr("weights has layers.7.x"));
  EXPECT_THAT(with([](Forger& f) { f.version = 2; }),
              HasSubstr("archive version 2; this build reads version 1"));
  EXPECT_THAT(with([](Forger& f) { f.format = "edgeq-stats"; }),
              HasSubstr("format is \"edgeq-stats\"; expected \"edgeq-archive\""));
}

TEST(Archive, RefusesATruncatedFileAndWhatIsNotHdf5) {
  const TempDir folder;
  const std::string path = folder.file("toy.h5");
  write_archive(ToyCoded("int4-g32-asym", DType::f16, 64), path, OutputFile::Existing::refuse);
  const std::string whole = read_text_file(path);
  for (size_t length = 8; length < whole.size(); length += whole.size() / 61) {
    const std::string cut = folder.write("cut.h5", std::string_view(whole).substr(0, length));
    EXPECT_THAT(error_of([&] { read_all(*open_any_coded(cut)); }), HasSubstr(cut)) << length;
  }
  const std::string text = folder.write("text.h5", "not HDF5 at all");
  EXPECT_THAT(error_of([&] { open_archive(text); }), HasSubstr(text + ": cannot open as HDF5"));
  EXPECT_THAT(error_of([&] { open_archive(folder.file("none.h5")); }), HasSubstr("no such file"));
}

}  // namespace
}  // namespace edgeq
