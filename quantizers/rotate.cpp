// SPDX-License-Identifier: Apache-2.0
// Values turned before they are rounded: an orthogonal R spreads what one dimension of a head has over all of
// them, in the weights of v and o and in the input of o alike. In every head
//   v = R v,  o = o R^T,  so that o R^T R v is what it was.
// R = (Hadamard of 2^k, or of order 2^k times a random orthogonal matrix of the odd rest of the head's size)
// with random signs, as in QuaRot (arXiv 2404.00456). The residual stream is not turned: its readers include
// the head, which a tied table can follow only with an operation at run time that other engines do not have.
#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "models/names.h"
#include "quantizers/channel_scales.h"
#include "quantizers/methods.h"

namespace edgeq {
namespace {

// Row by row, an orthonormal basis from random normals (Gram-Schmidt, twice for the sake of rounding).
std::vector<double> random_orthogonal(int64_t n, Random& random) {
  std::vector<double> rows(size_t(n * n));
  for (double& x : rows) x = random.normal();
  for (int64_t r = 0; r < n; ++r) {
    double* row = rows.data() + r * n;
    for (int64_t earlier = 0; earlier < 2 * r; ++earlier) {
      const double* other = rows.data() + earlier % r * n;
      const double along = std::inner_product(row, row + n, other, 0.0);
      for (int64_t c = 0; c < n; ++c) row[c] -= along * other[c];
    }
    const double norm = std::sqrt(std::inner_product(row, row + n, row, 0.0));
    for (int64_t c = 0; c < n; ++c) row[c] /= norm;
  }
  return rows;
}

// [n, n], row-major.
std::vector<double> rotation(int64_t n, uint64_t seed) {
  Random random(seed);
  int64_t odd = n;
  while (odd % 2 == 0) odd /= 2;
  const int64_t power = n / odd;
  const std::vector<double> rest = random_orthogonal(odd, random);
  std::vector<double> rows(size_t(n * n));
  for (int64_t c = 0; c < n; ++c) {
    const double sign = (random.next() & 1) == 0 ? 1 : -1;
    for (int64_t r = 0; r < n; ++r) {
      const auto shared_bits = uint64_t((r / odd) & (c / odd));
      const double hadamard = std::popcount(shared_bits) % 2 == 0 ? 1 : -1;
      rows[size_t(r * n + c)] =
          sign * hadamard / std::sqrt(double(power)) * rest[size_t(r % odd * odd + c % odd)];
    }
  }
  return rows;
}

// The n values at x, `stride` apart, become R x.
void turn(const std::vector<double>& r, int64_t n, float* x, int64_t stride) {
  std::vector<double> turned(size_t(n), 0.0);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t k = 0; k < n; ++k) turned[size_t(i)] += r[size_t(i * n + k)] * double(x[k * stride]);
  for (int64_t i = 0; i < n; ++i) x[i * stride] = float(turned[size_t(i)]);
}

Site& site_of(Block& block, std::string_view part) {
  const std::string name = layer_site(block.index, part);
  const auto found = std::ranges::find(block.sites, name, &Site::name);
  EDGEQ_CHECK(found != block.sites.end(), "a decoder block has v and o");
  return *found;
}

class Rotate final : public Transform {
 public:
  explicit Rotate(uint64_t seed) : seed_(seed) {}

  unsigned needs() const override { return kNeedNothing; }
  std::vector<std::string> leaves(const ModelConfig&) const override { return {}; }

  void apply(Block& block, const BlockFacts& facts) const override {
    require_finite_block(block);
    const LayerShape& shape = facts.config.layers[size_t(block.index)];
    const int64_t n = shape.head_dim;
    const std::vector<double> r = rotation(n, seed_);
    Site &v = site_of(block, "attn.v_proj"), &o = site_of(block, "attn.o_proj");
    const int64_t hidden = v.weight.cols();
    for (int64_t head = 0; head < shape.kv_heads; ++head) {
      for (int64_t c = 0; c < hidden; ++c) turn(r, n, v.weight.matrix().row(head * n) + c, hidden);
      if (!v.bias.empty()) turn(r, n, v.bias.f32() + head * n, 1);
    }
    for (int64_t row = 0; row < o.weight.rows(); ++row)
      for (int64_t head = 0; head < shape.heads; ++head) turn(r, n, o.weight.matrix().row(row) + head * n, 1);
  }

 private:
  uint64_t seed_;
};

}  // namespace

std::unique_ptr<Transform> make_rotate(const Options& options) {
  return std::make_unique<Rotate>(uint64_t(options.integer("seed", 1, 0, int64_t(1) << 40)));
}

}  // namespace edgeq
