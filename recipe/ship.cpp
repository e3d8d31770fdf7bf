// SPDX-License-Identifier: Apache-2.0
#include "recipe/ship.h"

#include <fmt/format.h>

#include "core/error.h"
#include "formats/staged_output.h"
#include "models/any_model.h"
#include "models/verify.h"
#include "quantizers/registry.h"
#include "recipe/compress_site.h"
#include "recipe/plan.h"

namespace edgeq {
namespace {

void refuse_inexact(const std::vector<Verdict>& verdicts) {
  for (const Verdict& v : verdicts)
    if (v.largest_error != 0)
      throw Error(fmt::format("{}: {} becomes {} with an error of {:.3g}; expected an exact export", v.site,
                              v.from, v.to, v.largest_error));
}

}  // namespace

QuantizedTensor round_to_nearest(const Tensor& weight, const Placed& placed) {
  const auto rtn = make_quantizer("rtn", *placed.form.scheme, target_options({}, placed));
  return rtn->quantize(weight.matrix(), unit_stats(weight.cols(), rtn->needs())).weight;
}

Shipped ship(const ShipInputs& in) {
  StagedOutput staged(in.output, in.existing);
  const FittedModel fitted = with_context(in.target.name(), [&] {
    return FittedModel(in.source, in.target, in.choose_anew ? round_to_nearest : FittedModel::ChooseCodes());
  });
  Shipped shipped;
  shipped.bytes = in.target.write(fitted, staged.staged_path(), OutputFile::Existing::refuse);
  shipped.verdicts = fitted.verdicts();
  if (in.exact) refuse_inexact(shipped.verdicts);
  verify_equal(*open_any_checkpoint(staged.staged_path()), fitted);
  if (in.run) in.run(staged.staged_path(), fitted);
  shipped.notes = in.target.notes(fitted);
  staged.publish();
  return shipped;
}

}  // namespace edgeq
