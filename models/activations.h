// SPDX-License-Identifier: Apache-2.0
// How a layer with codes for weights reads its inputs. The integers that stand for x mean scale * code, with
// codes in [-127, 127].
#pragma once

#include <cstdint>
#include <string_view>

namespace edgeq {

enum class Activations : uint8_t {
  f32,          // as floats
  int8_block,   // rounded when the model runs, one scale per 32 values of a token: max|x| / 127
  int8_token,   // the same, one scale per token
  int8_static,  // one scale for all tokens, fixed beforehand (calibration/observer.h); beyond it x is clipped
};

// The enumerator's name.
std::string_view activations_text(Activations activations);
// Throws Error for any other text.
Activations parse_activations(std::string_view text);

}  // namespace edgeq
