// SPDX-License-Identifier: Apache-2.0
#include "recipe/distill_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/hash.h"
#include "core/version.h"
#include "distill/traces.h"
#include "models/any_model.h"
#include "models/sites.h"
#include "models/tokenizer_data.h"
#include "quantizers/registry.h"
#include "recipe/compress_site.h"

namespace edgeq {
namespace {

std::string name_of(const std::string& path) {
  return std::filesystem::path(path).lexically_normal().filename().string();
}

// Hash of all numbers a training begins with.
std::string hash_of(FloatModel& model, const Codes& codes) {
  Hasher hasher;
  hasher.add(config_to_json(model.config));
  for (const Parameter& p : parameters_of(model))
    hasher.add(p.name).add(std::span(p.values->data(), size_t(p.values->bytes())));
  for (const auto& [site, q] : codes) hasher.add(site).add(scheme_text(q.scheme));
  return hasher.digest();
}

// Codes of every site of the blocks: those that it has, or the nearest on the scheme's grid.
Codes starting_codes(const std::optional<QuantScheme>& scheme, FloatModel& model, const Checkpoint& source) {
  Codes codes;
  if (!scheme) {
    for (const SiteShape& site : all_sites(model.config))
      if (source.has(site.name))
        if (auto found = source.codes(site.name)) codes.emplace(site.name, std::move(*found));
    return codes;
  }
  for (Block& block : model.blocks)
    for (Site& site : block.sites) {
      with_context(site.name, [&] { check_columns(*scheme, site.weight.cols()); });
      Options options;
      options.set("search", "mse");
      const auto rtn = make_quantizer("rtn", *scheme, options);
      codes.emplace(site.name,
                    rtn->quantize(site.weight.matrix(), unit_stats(site.weight.cols(), rtn->needs())).weight);
    }
  return codes;
}

// How sites with codes read their inputs in training: as is asked for, else as the student's own file says. A
// file that says nothing of them leaves them floats.
Activations inputs_of(const StudentSpec& spec, const Codes& codes, const Checkpoint& source) {
  if (spec.inputs && *spec.inputs != Activations::f32 && codes.empty())
    throw Error(
        fmt::format("student: inputs {} of a student without codes; expected quantize: SCHEME, or a "
                    "model that has codes",
                    activations_text(*spec.inputs)));
  if (spec.inputs || codes.empty()) return spec.inputs.value_or(Activations::f32);
  const Activations said = open_any_coded(source.path())->activations();
  if (said == Activations::int8_static)
    throw Error(
        fmt::format("{}: its inputs are int8_static, whose scales cannot be trained with", source.path()))
        .set_hint("student: {model: ..., inputs: int8_token}, int8_block or f32");
  return said == Activations::int8_block ? Activations::f32 : said;
}

std::string provenance(const DistillJob& job, const std::string& key) {
  nlohmann::ordered_json j;
  j["tool"] = fmt::format("edgeq {}", version());
  j["distilled"] = job.title;
  if (job.teacher != nullptr)
    j["teacher"] = {{"name", name_of(job.teacher->path())}, {"hash", job.teacher->hash()}};
  j["data"] = job.data.name;
  if (job.beginning.inputs != Activations::f32) j["inputs"] = activations_text(job.beginning.inputs);
  j["training"] = spec_key(job.spec.train);
  j["key"] = key;
  return j.dump();
}

}  // namespace

ModelConfig student_config(const StudentShape& shape, const ModelConfig& teacher) {
  ModelConfig config = teacher;
  config.name.clear();
  if (shape.layers != 0) config.layers.resize(size_t(shape.layers), teacher.layers.back());
  if (shape.hidden != 0) config.hidden = shape.hidden;
  for (LayerShape& layer : config.layers) {
    if (shape.heads != 0) layer.heads = shape.heads;
    if (shape.kv_heads != 0) layer.kv_heads = shape.kv_heads;
    if (shape.head_dim != 0) layer.head_dim = shape.head_dim;
    if (shape.ffn != 0) layer.ffn = shape.ffn;
  }
  if (shape.head_dim != 0 && teacher.rotary_dims != 0 && shape.head_dim != teacher.layers[0].head_dim)
    throw Error(fmt::format("head_dim {}: the teacher's rotation is of {} dimensions of {}", shape.head_dim,
                            teacher.rotary_dims, teacher.layers[0].head_dim));
  with_context("the student", [&] { validate(config); });
  return config;
}

int64_t common_vocab(const Tokenizer& student, int64_t student_rows, const Checkpoint& teacher) {
  const Tokenizer other = teacher.tokenizer();
  const int64_t teacher_rows = teacher.config().vocab;
  if (student.hash() != other.hash())
    throw Error(
        fmt::format("teacher and student have different tokenizers: {} and {} tokens ({} and {} rows in the "
                    "embedding); their predictions cannot be compared",
                    other.vocab_size(), student.vocab_size(), teacher_rows, student_rows))
        .set_hint("distil through text instead: edgeq traces lets the teacher write it");
  return std::min({student_rows, teacher_rows, std::max<int64_t>(student.vocab_size(), 1)});
}

Dataset read_training_data(const TrainingData& spec, const Checkpoint& model, uint64_t seed) {
  if (spec.length > model.config().context)
    throw Error(fmt::format("sequences of length {} are longer than the model's context of {}", spec.length,
                            model.config().context))
        .set_hint(fmt::format("data: {{length: {}}}", model.config().context));
  const Tokenizer tokenizer = model.tokenizer();
  const bool share = spec.held_out_texts.empty();
  const DataOptions options{.length = spec.length, .held_out = share ? spec.held_out : 0, .seed = seed};
  Dataset data;
  if (!spec.texts.empty()) data = sequences_of_texts(spec.texts, tokenizer, options);
  if (!spec.traces.empty()) {
    Dataset traces = sequences_of_traces(spec.traces, tokenizer, options, {.chat = spec.chat});
    if (spec.texts.empty()) {
      data = std::move(traces);
    } else {
      std::ranges::move(traces.train, std::back_inserter(data.train));
      std::ranges::move(traces.held_out, std::back_inserter(data.held_out));
      data.name += ", " + traces.name;
    }
  }
  if (!share)
    data.held_out = sequences_of_texts(spec.held_out_texts, tokenizer,
                                       {.length = spec.length, .held_out = 0, .seed = seed})
                        .train;
  if (std::ssize(data.held_out) > spec.held_out_sequences) {
    // Evenly over all of it.
    std::vector<Sequence> some;
    for (int64_t i = 0; i < spec.held_out_sequences; ++i)
      some.push_back(data.held_out[size_t(i * std::ssize(data.held_out) / spec.held_out_sequences)]);
    data.held_out = std::move(some);
  }
  if (learned_count(data.train) == 0)
    throw Error(fmt::format("{}: nothing is left to train on; expected at least one sequence of two tokens",
                            data.name));
  return data;
}

Beginning begin_student(const StudentSpec& spec, const std::shared_ptr<const Checkpoint>& model,
                        const std::shared_ptr<const Checkpoint>& teacher, uint64_t seed) {
  if (model != nullptr) {
    Beginning begin{.student = load_float_model(*model), .codes = {}, .like = model};
    begin.codes = starting_codes(spec.scheme, begin.student, *model);
    begin.inputs = inputs_of(spec, begin.codes, *model);
    return begin;
  }
  const ModelConfig config = student_config(spec.shape, teacher->config());
  Beginning begin{.student = {}, .codes = {}, .like = teacher};
  if (spec.from_teacher) {
    begin.student = thinned_model(*teacher, std::ssize(config.layers));
    if (begin.student.config.hidden != config.hidden || begin.student.config.layers[0] != config.layers[0])
      throw Error("a student that begins as its teacher's layers has their widths: only layers can be fewer")
          .set_hint("init: random for other widths, or prune the teacher and name the result as the model");
  } else {
    begin.student = random_model(config, seed);
  }
  begin.codes = starting_codes(spec.scheme, begin.student, *teacher);
  begin.inputs = inputs_of(spec, begin.codes, *teacher);
  return begin;
}

Distilled distill(DistillJob job, const Progress& progress) {
  FloatModel& student = job.beginning.student;
  std::optional<FloatModel> teacher;
  if (job.teacher != nullptr) teacher = load_float_model(*job.teacher);
  std::error_code failed;
  std::filesystem::create_directories(job.folder, failed);
  if (failed) throw Error(fmt::format("{}: cannot be made: {}", job.folder, failed.message()));
  const std::string key =
      fmt::format("edgeq {}\nstudent {}\ninputs {}\nteacher {}\ndata {} {}\n", version(),
                  hash_of(student, job.beginning.codes), activations_text(job.beginning.inputs),
                  job.teacher == nullptr ? "none" : job.teacher->hash(), sequences_hash(job.data.train),
                  sequences_hash(job.data.held_out));
  std::optional<CachedTeacher> cached;
  const TrainingSpec& spec = job.spec;
  if (spec.train.teacher_cache && teacher)
    cached = cache_teacher({.form = *spec.train.teacher_cache,
                            .teacher = *teacher,
                            .teacher_hash = job.teacher->hash(),
                            .arithmetic = spec.train.arithmetic,
                            .common_vocab = job.common_vocab,
                            .sequences = job.data.train,
                            .folder = spec.cache_folder.empty() ? job.folder + "/teacher" : spec.cache_folder,
                            .teach = job.teach},
                           progress);
  const std::string origin = provenance(job, content_hash(key));
  TrainReport report = job.train({.spec = job.spec.train,
                                  .student = student,
                                  .teacher = teacher ? &*teacher : nullptr,
                                  .common_vocab = job.common_vocab,
                                  .adapters = job.adapters,
                                  .codes = job.beginning.codes.empty() ? nullptr : &job.beginning.codes,
                                  .inputs = job.beginning.inputs,
                                  .train = job.data.train,
                                  .held_out = job.data.held_out,
                                  .kept = [&](int64_t s) { return cached->cache.read(s); },
                                  .folder = job.folder,
                                  .key = key,
                                  .stepped = job.stepped},
                                 progress);
  if (cached) report.cache = cached->report;
  return {.model = std::make_shared<TrainedModel>(std::move(student), std::move(job.beginning.codes),
                                                  job.beginning.inputs, job.beginning.like, origin),
          .report = std::move(report)};
}

}  // namespace edgeq
