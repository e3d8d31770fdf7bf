// SPDX-License-Identifier: Apache-2.0
// The HDF5 archive as a target: whatever there is is kept as it is.
#include "core/error.h"
#include "models/archive.h"
#include "models/targets.h"

namespace edgeq {
namespace {

class Hdf5Target final : public Target {
 public:
  explicit Hdf5Target(std::string_view name) : name_(name) {}
  const std::string& name() const override { return name_; }
  std::string_view ending() const override { return "h5"; }

  void check(const ModelConfig&) const override {}
  Placed choose(const SiteShape&, const WeightForm& asked) const override {
    if (asked.scheme) check_columns(*asked.scheme, asked.cols);
    return {asked, ""};
  }
  Placed keep(const SiteShape& site, const WeightForm& have) const override { return choose(site, have); }

  int64_t bytes(const WeightForm& form) const override { return stored_bytes(form); }
  int64_t beside_bytes(const ModelConfig&, const Tokenizer&) const override {
    throw Error("bytes of an HDF5 archive are not counted")
        .set_hint("write a packed or GGUF file, or give the budget as bits_per_weight");
  }

  std::vector<std::string> notes(const CodedModel&) const override { return {}; }
  int64_t write(const CodedModel& model, const std::string& path,
                OutputFile::Existing existing) const override {
    return write_archive(model, path, existing);
  }

 private:
  std::string name_;
};

}  // namespace

std::shared_ptr<const Target> make_hdf5_target(std::string_view name) {
  return std::make_shared<Hdf5Target>(name);
}

}  // namespace edgeq
