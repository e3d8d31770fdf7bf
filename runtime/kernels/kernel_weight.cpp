// SPDX-License-Identifier: Apache-2.0
#include "runtime/kernels/kernel_weight.h"

#include <bit>

#include "formats/panels.h"

namespace edgeq {
namespace {

int32_t scale_bytes(const QuantScheme& scheme) {
  if (scheme.two_level()) return 1;
  return scheme.store == ScaleStore::f16 ? 2 : 4;
}

// A table's levels stand in the place of codes with 128 added.
int32_t middle(const QuantScheme& scheme) {
  if (scheme.levels != Levels::uniform) return 128;
  return scheme.zero == Zero::mid ? scheme.mid_code() : 0;
}

// One outer scale a row: every group's number becomes 0.
int32_t outer_shift(const QuantScheme& scheme) {
  return scheme.super_blocks() ? std::countr_zero(uint64_t(kSuperBlock / scheme.group)) : 62;
}

}  // namespace

KernelWeight kernel_weight(const QuantScheme& scheme, int64_t rows, int64_t cols, const std::byte* panels) {
  require_kernels(scheme);
  const PanelShape shape = panel_shape(scheme, rows, cols);
  return {.panels = reinterpret_cast<const unsigned char*>(panels),
          .panel_bytes = shape.bytes,
          .scales = shape.scales,
          .zeros = scheme.zero == Zero::integer ? shape.zeros : -1,
          .offsets = scheme.zero == Zero::offset ? shape.offsets : -1,
          .outer_scales = shape.outer_scales,
          .outer_offsets = shape.outer_offsets,
          .cols = cols,
          .blocks = shape.blocks,
          .group_blocks = scheme.group == 0 ? shape.blocks : scheme.group / kPanelBlock,
          .bits = scheme.bits,
          .mid = middle(scheme),
          .scale_bytes = scale_bytes(scheme),
          .outer_shift = outer_shift(scheme),
          .levels = scheme.levels == Levels::uniform ? nullptr : kIq4nlLevels.data()};
}

}  // namespace edgeq
