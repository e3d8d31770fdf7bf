// SPDX-License-Identifier: Apache-2.0
// The packed file as a target: whatever the kernels' layout holds is kept as it is.
#include <fmt/format.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "formats/panels.h"
#include "models/targets.h"

namespace edgeq {
namespace {

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

  std::vector<std::string> notes(const CodedModel&) const override { return {}; }
  int64_t write(const CodedModel& model, const std::string& path,
                OutputFile::Existing existing) const override {
    PackedWriter writer(path, existing);
    for (const SiteShape& site : all_sites(model.config())) {
      check_interrupt();
      const CodedWeight weight = model.weight(site.name);
      if (weight.codes) {
        writer.add(site.name, *weight.codes);
      } else {
        writer.add(site.name, weight.kept);
      }
    }
    for (const VectorShape& vector : all_vectors(model.config())) {
      const Tensor values = model.vector(vector.name);
      writer.add_vector(vector.name, {values.f32(), size_t(values.size())});
    }
    writer.set_kv(model.kv());
    return writer.finish(model.config(), model.tokenizer().serialize(), model.provenance_json());
  }

 private:
  std::string name_;
};

}  // namespace

std::shared_ptr<const Target> make_packed_target(std::string_view name) {
  return std::make_shared<PackedTarget>(name);
}

}  // namespace edgeq
