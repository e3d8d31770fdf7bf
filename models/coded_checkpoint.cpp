// SPDX-License-Identifier: Apache-2.0
#include "models/coded_checkpoint.h"

#include <map>

#include "core/error.h"
#include "core/hash.h"
#include "models/sites.h"

namespace edgeq {
namespace {

class CodedAsCheckpoint final : public Checkpoint {
 public:
  explicit CodedAsCheckpoint(std::shared_ptr<const CodedModel> model) : model_(std::move(model)) {
    for (const SiteShape& site : all_sites(config())) sites_.emplace(site.name, site.rows);
    for (const VectorShape& vector : all_vectors(config())) vectors_.emplace(vector.name, vector.size);
  }

  const std::string& path() const override { return model_->path(); }
  const ModelConfig& config() const override { return model_->config(); }
  Tokenizer tokenizer() const override { return model_->tokenizer(); }
  int64_t file_bytes() const override { return 4 * config().weight_count(); }
  std::string hash() const override {
    Hasher hasher;
    hasher.add(config_to_json(config()));
    for (const auto* names : {&sites_, &vectors_})
      for (const auto& [name, size] : *names) {
        const Tensor values = load(name);
        hasher.add(name).add("\n").add({values.data(), size_t(values.bytes())});
      }
    return hasher.digest();
  }

  bool has(std::string_view name) const override { return sites_.contains(name) || vectors_.contains(name); }
  std::string encoding(std::string_view name) const override {
    return sites_.contains(name) ? form_text(model_->form(name)) : "F32";
  }
  std::optional<QuantScheme> scheme(std::string_view name) const override {
    return sites_.contains(name) ? model_->form(name).scheme : std::nullopt;
  }
  std::optional<QuantizedTensor> codes(std::string_view name) const override {
    return sites_.contains(name) ? model_->weight(name).codes : std::nullopt;
  }
  Tensor load(std::string_view name) const override {
    const auto site = sites_.find(name);
    return site != sites_.end() ? load_rows(name, 0, site->second) : model_->vector(name);
  }
  Tensor load_rows(std::string_view name, int64_t first, int64_t count) const override {
    if (last_ != name) {
      last_.clear();
      weight_ = model_->weight(name);
      last_ = name;
    }
    return dequantize(weight_, first, count);
  }

 private:
  std::shared_ptr<const CodedModel> model_;
  std::map<std::string, int64_t, std::less<>> sites_, vectors_;
  // Read whole, used a few rows at a time. Like the model that it is of, not for several threads at once.
  mutable std::string last_;
  mutable CodedWeight weight_;
};

}  // namespace

std::unique_ptr<Checkpoint> as_checkpoint(std::shared_ptr<const CodedModel> model) {
  return std::make_unique<CodedAsCheckpoint>(std::move(model));
}

}  // namespace edgeq
