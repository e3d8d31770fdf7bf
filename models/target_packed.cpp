// SPDX-License-Identifier: Apache-2.0
// The packed file as a target: whatever the kernels' layout holds is kept as it is.
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/interrupt.h"
#include "formats/panels.h"
#include "formats/safetensors.h"
#include "models/targets.h"

namespace edgeq {
namespace {

constexpr int64_t kAlignment = 64;
// Of one tensor at most: its entry in the header, its form, its hash, a pad with an entry of its own, and
// what provenance says of it.
constexpr int64_t kHeaderBytes = 640;

class PackedTarget final : public Target {
 public:
  explicit PackedTarget(std::string_view name) : name_(name) {}
  const std::string& name() const override { return name_; }
  std::string_view ending() const override { return "packed"; }

  void check(const ModelConfig&) const override {}
  Placed choose(const SiteShape&, const WeightForm& asked) const override {
    if (asked.scheme) {
      check_columns(*asked.scheme, asked.cols);
      panel_shape(*asked.scheme, asked.rows, asked.cols);  // refuses what does not fit
    }
    return {asked, ""};
  }
  Placed keep(const SiteShape& site, const WeightForm& have) const override { return choose(site, have); }

  int64_t bytes(const WeightForm& form) const override {
    const PanelShape shape = form.scheme ? panel_shape(*form.scheme, form.rows, form.cols)
                                         : float_panel_shape(form.dtype, form.rows, form.cols);
    return shape.panels * shape.bytes;
  }
  int64_t beside_bytes(const ModelConfig& config, const Tokenizer& tokenizer) const override {
    const int64_t header = tensor_count(config) * kHeaderBytes + kProvenanceBytes;
    return int64_t(tokenizer.serialize().size()) + vector_bytes(config, kAlignment) +
           std::max(header, SafetensorsWriter::kHeaderRoom + kAlignment);
  }

  std::vector<std::string> notes(const CodedModel&) const override { return {}; }
  int64_t write(const CodedModel& model, const std::string& path,
                OutputFile::Existing existing) const override {
    PackedWriter writer(path, existing);
    for (const SiteShape& site : all_sites(model.config())) {
      check_interrupt();
      const CodedWeight weight = model.weight(site.name);
      if (weight.codes) {
        writer.add(site.name, *weight.codes, model.input_scale(site.name));
      } else {
        writer.add(site.name, weight.kept);
      }
    }
    for (const VectorShape& vector : all_vectors(model.config())) {
      const Tensor values = model.vector(vector.name);
      writer.add_vector(vector.name, {values.f32(), size_t(values.size())});
    }
    writer.set_kv(model.kv());
    writer.set_activations(model.activations());
    return writer.finish(model.config(), model.tokenizer().serialize(), model.provenance_json());
  }

 private:
  std::string name_;
};

}  // namespace

int64_t stored_bytes(const WeightForm& form) {
  if (!form.scheme) return form.rows * form.cols * dtype_bytes(form.dtype);
  return form.rows * ((form.cols * form.scheme->bits + 7) / 8 + form.scheme->side_bits(form.cols) / 8);
}

int64_t vector_bytes(const ModelConfig& config, int64_t alignment) {
  int64_t bytes = 0;
  for (const VectorShape& vector : all_vectors(config))
    bytes += (vector.size * int64_t(sizeof(float)) + alignment - 1) / alignment * alignment;
  return bytes;
}

int64_t tensor_count(const ModelConfig& config) {
  return std::ssize(all_sites(config)) + std::ssize(all_vectors(config));
}

std::shared_ptr<const Target> make_packed_target(std::string_view name) {
  return std::make_shared<PackedTarget>(name);
}

}  // namespace edgeq
