// SPDX-License-Identifier: Apache-2.0
// A model as a target will hold it: the source's codes carried to the target's forms weight by weight, with a
// verdict on each. Writers read it, and so does the proof of what they wrote.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "models/coded_model.h"
#include "models/target.h"

namespace edgeq {

struct Verdict {
  std::string site, from, to;  // forms
  std::string note;
  bool anew = false;         // codes had to be chosen anew
  double largest_error = 0;  // of a weight against the source; 0: exact
};

class FittedModel final : public CodedModel {
 public:
  // Chooses codes of a matrix in the form of `placed`.
  using ChooseCodes = std::function<QuantizedTensor(const Tensor& weight, const Placed& placed)>;

  // Both outlive it. A model that the target has no place for is an Error before anything is read. So is,
  // without `choose`, a site whose codes cannot be kept: it names the site, its form and the reason.
  FittedModel(const CodedModel& source, const Target& target, ChooseCodes choose = {});

  const std::string& path() const override { return source_.path(); }
  const ModelConfig& config() const override { return source_.config(); }
  Tokenizer tokenizer() const override { return source_.tokenizer(); }
  KvScheme kv() const override { return source_.kv(); }
  Activations activations() const override { return source_.activations(); }
  float input_scale(std::string_view site) const override { return source_.input_scale(site); }
  std::string provenance_json() const override { return source_.provenance_json(); }
  WeightForm form(std::string_view site) const override;
  // Throws Error when a number is beyond what the form holds.
  CodedWeight weight(std::string_view site) const override;
  Tensor vector(std::string_view name) const override { return source_.vector(name); }

  // In the order of all_sites(); complete when every weight has been read once.
  std::vector<Verdict> verdicts() const;

 private:
  struct Fit {
    Placed placed;
    mutable Verdict verdict;
    mutable bool measured = false;  // the verdict's error, at the first reading
  };
  const Fit& fit(std::string_view site) const;

  const CodedModel& source_;
  ChooseCodes choose_;
  std::map<std::string, Fit, std::less<>> fits_;
};

}  // namespace edgeq
