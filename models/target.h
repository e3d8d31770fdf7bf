// SPDX-License-Identifier: Apache-2.0
// The visible table of what edgeq writes; `edgeq list targets` prints it. A target knows which form each
// weight takes in its files: for a recipe, before codes are chosen, so that the export is exact; and for
// codes that exist, where it keeps them or says why it cannot.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/output_file.h"
#include "models/coded_model.h"
#include "models/sites.h"

namespace edgeq {

// A form, and what there is to say when it is not the one that was asked for.
struct Placed {
  WeightForm form;
  std::string note = {};
  bool zeros_from_one = false;  // the file has no place for a zero point of 0
};

class Target {
 public:
  virtual ~Target() = default;
  virtual const std::string& name() const = 0;  // as parse_target() takes it
  virtual std::string_view ending() const = 0;  // of a file's name: "gguf"; "" when the output is a folder

  // Throws Error when the format has no place for a model of this kind, whatever its weights.
  virtual void check(const ModelConfig& config) const = 0;
  // The form for a site that a recipe wants in the form `asked`. Throws Error when there is none.
  virtual Placed choose(const SiteShape& site, const WeightForm& asked) const = 0;
  // A form on which the codes of `have` are kept (models/carry.h), or the floats as they are or, for a target
  // of floats, rounded to its type. Throws Error saying why there is none.
  virtual Placed keep(const SiteShape& site, const WeightForm& have) const = 0;
  // What a weight takes in its file.
  virtual int64_t bytes(const WeightForm& form) const = 0;
  // At most what else its file holds: vectors, tokenizer, names, provenance. Throws Error for targets that
  // are no single file.
  virtual int64_t beside_bytes(const ModelConfig& config, const Tokenizer& tokenizer) const = 0;
  // What the format has no place for though every weight is whole, in sentences; empty for most.
  virtual std::vector<std::string> notes(const CodedModel& model) const = 0;
  // Writes a model whose weights all have forms that choose() or keep() gave. Returns the bytes written.
  // Throws Error: a feature of the config or the tokenizer that the format cannot hold.
  virtual int64_t write(const CodedModel& model, const std::string& path,
                        OutputFile::Existing existing) const = 0;
};

struct TargetEntry {
  std::string_view name;     // "gguf:q4_0"
  std::string_view summary;  // one line
  std::shared_ptr<const Target> (*make)(std::string_view name);
  bool takes_group;  // may be followed by ":g<group>"
};

std::span<const TargetEntry> targets();
// Throws Error listing the known.
std::shared_ptr<const Target> parse_target(std::string_view name);

}  // namespace edgeq
