// SPDX-License-Identifier: Apache-2.0
#include "cli/ship_check.h"

#include <fmt/format.h>

#include "core/error.h"
#include "models/any_model.h"
#include "models/coded_checkpoint.h"

namespace edgeq {

RunCheck run_check(int threads) {
  return [threads](const std::string& staged, const CodedModel& expected) {
    const std::shared_ptr<const CodedModel> borrowed(&expected, [](const CodedModel*) {});
    const TextQuality quality =
        compare_on_passage(*open_any_checkpoint(staged), *as_checkpoint(borrowed), threads);
    if (!(quality.divergence->kl_mean <= kSameFunctionKl))
      throw Error(
          fmt::format("{} computes something else than its codes: mean KL divergence {:.3g}; expected at "
                      "most {:.0e}",
                      staged, quality.divergence->kl_mean, kSameFunctionKl));
  };
}

}  // namespace edgeq
