// SPDX-License-Identifier: Apache-2.0
#include "models/archive.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <span>
#include <type_traits>
#include <utility>

#include "core/error.h"
#include "core/interrupt.h"
#include "formats/hdf5_file.h"
#include "models/sites.h"

namespace edgeq {
namespace {

constexpr char kFormat[] = "edgeq-archive";
constexpr int64_t kVersion = 1;
constexpr int kLargestSuperCode = 63;  // of scales and offsets in u6_super

using Packing = Hdf5Group::Packing;

template <class T>
constexpr DType kStored = std::is_same_v<T, int8_t> ? DType::i8 : DType::u8;

// Scales and offsets of the flat stores, outer ones of the others.
DType float_type(const QuantScheme& scheme) {
  return scheme.store == ScaleStore::f32 || scheme.store == ScaleStore::s8_row ? DType::f32 : DType::f16;
}

void write_bytes(Hdf5Group& group, const char* name, std::span<const std::byte> bytes) {
  group.write(name, {DType::u8, {std::ssize(bytes)}, bytes.data()}, Packing::deflate);
}

void write_json(Hdf5Group& group, const char* name, const std::string& text) {
  write_bytes(group, name, std::as_bytes(std::span(text)));
}

Tensor unpacked_codes(const QuantizedTensor& q) {
  Tensor codes(DType::u8, {q.rows, q.cols});
  for (int64_t r = 0; r < q.rows; ++r)
    q.get_codes(r, {reinterpret_cast<uint8_t*>(codes.data()) + r * q.cols, size_t(q.cols)});
  return codes;
}

void write_codes(Hdf5Group& group, const QuantizedTensor& q) {
  group.write_text("scheme", scheme_text(q.scheme));
  group.write("codes", unpacked_codes(q).view(), Packing::deflate);
  for_each_array([&](const char* name, auto member) {
    const auto& values = q.*member;
    using T = typename std::decay_t<decltype(values)>::value_type;
    if (values.empty() || std::string_view(name) == "codes") return;
    const Shape shape = {q.rows, std::ssize(values) / q.rows};
    if constexpr (std::is_same_v<T, float>) {
      Tensor floats(DType::f32, shape);
      std::ranges::copy(values, floats.f32());
      group.write(name, from_f32(floats, float_type(q.scheme)).view(), Packing::deflate);
    } else {
      group.write(name, {kStored<T>, shape, std::as_bytes(std::span(values)).data()}, Packing::deflate);
    }
  });
}

void write_weight(Hdf5Group group, const CodedWeight& weight, float input_scale) {
  group.write_number("rows", weight.rows());
  group.write_number("cols", weight.cols());
  if (input_scale != 0)
    group.write("input_scale", {DType::f32, {1}, reinterpret_cast<const std::byte*>(&input_scale)},
                Packing::none);
  if (weight.codes) return write_codes(group, *weight.codes);
  group.write_text("dtype", std::string(dtype_name(weight.kept.dtype())));
  group.write("values", weight.kept.view(), Packing::deflate);
}

void write_root(const CodedModel& model, const std::string& path) {
  Hdf5Group root = create_hdf5(path);
  root.write_text("format", kFormat);
  root.write_number("version", kVersion);
  write_json(root, "config", config_to_json(model.config()));
  write_json(root, "provenance", model.provenance_json());
  if (model.kv() != KvScheme{}) write_json(root, "kv", kv_scheme_text(model.kv()));
  if (model.activations() != Activations::int8_block)
    write_json(root, "activations", std::string(activations_text(model.activations())));
  write_bytes(root, "tokenizer", model.tokenizer().serialize());
  Hdf5Group weights = root.create_group("weights");
  for (const SiteShape& site : all_sites(model.config())) {
    check_interrupt();
    with_context(site.name, [&] {
      write_weight(weights.create_group(site.name), model.weight(site.name), model.input_scale(site.name));
    });
  }
  Hdf5Group vectors = root.create_group("vectors");
  for (const VectorShape& vector : all_vectors(model.config()))
    vectors.write(vector.name, model.vector(vector.name).view(), Packing::deflate);
  root.flush();
}

void check_finite(const std::string& name, const Tensor& values) {
  const std::span<const float> all(values.f32(), size_t(values.size()));
  const auto bad = std::ranges::find_if_not(all, [](float v) { return std::isfinite(v); });
  if (bad != all.end()) throw Error(fmt::format("{} holds {} at {}", name, *bad, bad - all.begin()));
}

// Integers that mean something only in [0, largest].
template <class T>
void check_range(const std::string& name, std::span<const T> values, int largest) {
  const auto bad = std::ranges::find_if(values, [&](T v) { return v < 0 || v > largest; });
  if (bad != values.end())
    throw Error(
        fmt::format("{} holds {} at {}; expected 0 to {}", name, int(*bad), bad - values.begin(), largest));
}

template <class T>
void read_array(const Hdf5Group& group, const std::string& name, const QuantizedTensor& q,
                std::vector<T>& out) {
  const Shape shape = {q.rows, std::ssize(out) / q.rows};
  if constexpr (std::is_same_v<T, float>) {
    const Tensor values = to_f32(group.read(name, float_type(q.scheme), shape).view());
    check_finite(name, values);
    std::copy_n(values.f32(), values.size(), out.begin());
  } else {
    const Tensor values = group.read(name, kStored<T>, shape);
    std::copy_n(reinterpret_cast<const T*>(values.data()), values.size(), out.begin());
    if (name == "zeros") check_range<T>(name, out, q.scheme.max_code());
    if (q.scheme.store == ScaleStore::u6_super) check_range<T>(name, out, kLargestSuperCode);
  }
}

QuantizedTensor read_codes(const Hdf5Group& group, const WeightForm& form) {
  const Tensor codes = group.read("codes", DType::u8, {form.rows, form.cols});
  const std::span all(reinterpret_cast<const uint8_t*>(codes.data()), size_t(codes.size()));
  check_range("codes", all, form.scheme->max_code());
  QuantizedTensor q(*form.scheme, form.rows, form.cols);
  for (int64_t r = 0; r < q.rows; ++r) q.set_codes(r, all.subspan(size_t(r * q.cols), size_t(q.cols)));
  for_each_array([&](const char* name, auto member) {
    if (!(q.*member).empty() && std::string_view(name) != "codes") read_array(group, name, q, q.*member);
  });
  return q;
}

WeightForm read_form(const Hdf5Group& group, const SiteShape& site) {
  WeightForm form{.rows = group.read_number("rows"), .cols = group.read_number("cols")};
  if (form.rows != site.rows || form.cols != site.cols)
    throw Error(fmt::format("is [{}, {}]; the config calls for [{}, {}]", form.rows, form.cols, site.rows,
                            site.cols));
  if (group.has("codes")) {
    form.scheme = parse_scheme(group.read_text("scheme"));
    check_columns(*form.scheme, form.cols);
    return form;
  }
  if (!group.has("values")) throw Error("holds neither codes nor values");
  const std::string text = group.read_text("dtype");
  const auto dtype = parse_dtype(text);
  if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16)
    throw Error(fmt::format("dtype \"{}\"; expected F32, F16 or BF16", text));
  form.dtype = *dtype;
  return form;
}

class Archive final : public CodedModel {
 public:
  explicit Archive(const std::string& path)
      : path_(path),
        root_(open_root(path)),
        weights_(root_.open_group("weights")),
        vectors_(root_.open_group("vectors")),
        tokenizer_(root_.read("tokenizer", DType::u8, {})),
        provenance_(read_json("provenance")) {
    config_ = with_context("config", [&] { return config_from_json(read_json("config")); });
    if (root_.has("kv")) kv_ = parse_kv_scheme(read_json("kv"));
    if (root_.has("activations")) activations_ = parse_activations(read_json("activations"));
    for (const SiteShape& site : all_sites(config_))
      forms_.emplace(site.name, with_context(site.name, [&] {
                       return read_form(weights_.open_group(site.name), site);
                     }));
    for (const VectorShape& vector : all_vectors(config_)) {
      if (!vectors_.has(vector.name)) throw Error(fmt::format("vector {} is missing", vector.name));
      sizes_.emplace(vector.name, vector.size);
    }
    refuse_others(weights_, "weights", forms_);
    refuse_others(vectors_, "vectors", sizes_);
  }

  const std::string& path() const override { return path_; }
  const ModelConfig& config() const override { return config_; }
  Tokenizer tokenizer() const override {
    return with_context(path_, [&] {
      return Tokenizer::deserialize({tokenizer_.data(), size_t(tokenizer_.bytes())});
    });
  }
  KvScheme kv() const override { return kv_; }
  Activations activations() const override { return activations_; }
  float input_scale(std::string_view site) const override {
    return with_context(path_, [&] {
      return with_context(site, [&] {
        const Hdf5Group group = weights_.open_group(std::string(site));
        if (!group.has("input_scale")) return 0.0f;
        const Tensor scale = group.read("input_scale", DType::f32, {1});
        check_finite("input_scale", scale);
        return scale.f32()[0];
      });
    });
  }
  std::string provenance_json() const override { return provenance_; }

  WeightForm form(std::string_view site) const override {
    const auto found = forms_.find(site);
    if (found == forms_.end()) throw Error(fmt::format("{}: there is no weight {}", path_, site));
    return found->second;
  }
  CodedWeight weight(std::string_view site) const override {
    const WeightForm form = this->form(site);
    return with_context(path_, [&] {
      return with_context(site, [&]() -> CodedWeight {
        const Hdf5Group group = weights_.open_group(std::string(site));
        if (form.scheme) return {.codes = read_codes(group, form), .kept = {}};
        CodedWeight weight{.codes = {}, .kept = group.read("values", form.dtype, {form.rows, form.cols})};
        check_finite("values", to_f32(weight.kept.view()));
        return weight;
      });
    });
  }
  Tensor vector(std::string_view name) const override {
    const auto size = sizes_.find(name);
    if (size == sizes_.end()) throw Error(fmt::format("{}: there is no vector {}", path_, name));
    return with_context(path_, [&] {
      Tensor values = vectors_.read(size->first, DType::f32, {size->second});
      check_finite(size->first, values);
      return values;
    });
  }

 private:
  static Hdf5Group open_root(const std::string& path) {
    Hdf5Group root = open_hdf5(path);
    const std::string format = root.read_text("format");
    if (format != kFormat) throw Error(fmt::format("format is \"{}\"; expected \"{}\"", format, kFormat));
    const int64_t version = root.read_number("version");
    if (version != kVersion)
      throw Error(fmt::format("archive version {}; this build reads version {}", version, kVersion));
    return root;
  }
  std::string read_json(const char* name) const {
    const Tensor bytes = root_.read(name, DType::u8, {});
    return {reinterpret_cast<const char*>(bytes.data()), size_t(bytes.bytes())};
  }
  template <class Expected>
  static void refuse_others(const Hdf5Group& group, std::string_view kind, const Expected& expected) {
    for (const std::string& name : group.names())
      if (!expected.contains(name)) throw Error(fmt::format("{} has {}, unknown to the config", kind, name));
  }

  std::string path_;
  Hdf5Group root_, weights_, vectors_;
  Tensor tokenizer_;
  std::string provenance_;
  ModelConfig config_;
  KvScheme kv_;
  Activations activations_ = Activations::int8_block;
  std::map<std::string, WeightForm, std::less<>> forms_;
  std::map<std::string, int64_t, std::less<>> sizes_;
};

}  // namespace

int64_t write_archive(const CodedModel& model, const std::string& path, OutputFile::Existing existing) {
  OutputFile output(path, existing);
  with_context(path, [&] { write_root(model, output.partial_path()); });
  output.commit();
  return int64_t(std::filesystem::file_size(path));
}

std::unique_ptr<CodedModel> open_archive(const std::string& path) {
  return with_context(path, [&] { return std::make_unique<Archive>(path); });
}

}  // namespace edgeq
