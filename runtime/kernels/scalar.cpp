// SPDX-License-Identifier: Apache-2.0
// The definition of every kernel, in plain arithmetic: other instruction sets must give the same bits.
#include "core/half.h"
#include "runtime/kernels/kernel_abi.h"

namespace edgeq::isa::scalar {
namespace {

float load_float(const unsigned char* bytes, int64_t index, int32_t element_bytes) {
  if (element_bytes == 4) {
    float value;
    __builtin_memcpy(&value, bytes + index * 4, 4);
    return value;
  }
  uint16_t half;
  __builtin_memcpy(&half, bytes + index * 2, 2);
  return f16_to_f32(half);
}

// Codes of one block of 32 columns: out[(column / 4) * 64 + row * 4 + column % 4].
void decode_block(const KernelWeight& w, const unsigned char* codes, unsigned char* out) {
  const int32_t bits = w.bits;
  for (int i = 0; i < 512; ++i) out[i] = 0;
  int shift = 0;
  for (int plane = 8; plane > 0; plane /= 2) {
    if ((bits & plane) == 0) continue;
    const int mask = (1 << plane) - 1, byte_count = 64 * plane;
    for (int field = 0; field < 8 / plane; ++field)
      for (int byte = 0; byte < byte_count; ++byte)
        out[field * byte_count + byte] |=
            static_cast<unsigned char>(((codes[byte] >> (field * plane)) & mask) << shift);
    codes += byte_count;
    shift += plane;
  }
  if (w.levels == nullptr) return;
  for (int i = 0; i < 512; ++i) out[i] = static_cast<unsigned char>(w.levels[out[i]] + 128);
}

// What one group of one panel holds beside the codes.
struct Group {
  float scale[16], offset[16];  // no offset: -0, which added changes nothing
  int32_t zero[16];
};

// The signed code at `region`, lane r of a group, times the float of its row at `outer_region`.
float coded_scale(const KernelWeight& w, const unsigned char* panel, int64_t region, int64_t outer_region,
                  int64_t group, int64_t r) {
  const auto code = static_cast<signed char>(panel[region + group * 16 + r]);
  return static_cast<float>(code) * load_float(panel + outer_region, (group >> w.outer_shift) * 16 + r, 4);
}

Group load_group(const KernelWeight& w, const unsigned char* panel, int64_t group) {
  Group g;
  for (int64_t r = 0; r < 16; ++r) {
    g.offset[r] = -0.0f;
    if (w.scale_bytes == 1) {
      g.scale[r] = coded_scale(w, panel, w.scales, w.outer_scales, group, r);
      if (w.offsets >= 0) g.offset[r] = -coded_scale(w, panel, w.offsets, w.outer_offsets, group, r);
    } else {
      g.scale[r] = load_float(panel + w.scales, group * 16 + r, w.scale_bytes);
      if (w.offsets >= 0) g.offset[r] = load_float(panel + w.offsets, group * 16 + r, w.scale_bytes);
    }
    g.zero[r] = w.zeros < 0 ? w.mid : panel[w.zeros + group * 16 + r];
  }
  return g;
}

void multiply_block(const KernelWeight& w, const Group& group, const unsigned char* block,
                    const KernelInput& x, int64_t token, int64_t b, float* y) {
  const int8_t* codes = x.codes + (token * w.blocks + b) * 32;
  const float scale = x.scales[token * w.blocks + b];
  const int32_t sum = x.sums[token * w.blocks + b];
  for (int r = 0; r < 16; ++r) {
    int32_t dot = 0;  // |dot| <= 32 * 255 * 127, as is |zero * sum|
    for (int c = 0; c < 32; ++c) dot += block[(c / 4) * 64 + r * 4 + c % 4] * codes[c];
    y[r] = __builtin_fmaf(static_cast<float>(dot - group.zero[r] * sum), scale * group.scale[r], y[r]);
    if (w.offsets >= 0) y[r] = __builtin_fmaf(static_cast<float>(sum) * scale, group.offset[r], y[r]);
  }
}

void matmul(const KernelWeight& w, const KernelInput& x, float* y, int64_t y_stride, int64_t panel_begin,
            int64_t panel_end) {
  for (int64_t p = panel_begin; p < panel_end; ++p) {
    const unsigned char* panel = w.panels + p * w.panel_bytes;
    for (int64_t t = 0; t < x.tokens; ++t)
      for (int r = 0; r < 16; ++r) y[t * y_stride + p * 16 + r] = 0;
    for (int64_t b = 0; b < w.blocks; ++b) {
      unsigned char block[512];
      decode_block(w, panel + b * 64 * w.bits, block);
      const Group group = load_group(w, panel, b / w.group_blocks);
      for (int64_t t = 0; t < x.tokens; ++t)
        multiply_block(w, group, block, x, t, b, y + t * y_stride + p * 16);
    }
  }
}

float load_element(const unsigned char* panel, int64_t index, int32_t element) {
  if (element != 2) return load_float(panel, index, element == 0 ? 4 : 2);
  uint16_t value;
  __builtin_memcpy(&value, panel + index * 2, 2);
  return bf16_to_f32(value);
}

void float_matmul(const KernelFloatWeight& w, const float* x, int64_t x_stride, int64_t tokens, float* y,
                  int64_t y_stride, int64_t panel_begin, int64_t panel_end) {
  for (int64_t p = panel_begin; p < panel_end; ++p) {
    const unsigned char* panel = w.panels + p * w.panel_bytes;
    for (int64_t t = 0; t < tokens; ++t) {
      float* out = y + t * y_stride + p * 16;
      for (int r = 0; r < 16; ++r) out[r] = 0;
      for (int64_t c = 0; c < w.cols; ++c)
        for (int r = 0; r < 16; ++r)
          out[r] = __builtin_fmaf(load_element(panel, c * 16 + r, w.element), x[t * x_stride + c], out[r]);
    }
  }
}

void decode_panel(const KernelWeight& w, int64_t panel_index, float* out) {
  const unsigned char* panel = w.panels + panel_index * w.panel_bytes;
  for (int64_t b = 0; b < w.blocks; ++b) {
    unsigned char block[512];
    decode_block(w, panel + b * 64 * w.bits, block);
    const Group group = load_group(w, panel, b / w.group_blocks);
    for (int64_t c = 0; c < 32 && b * 32 + c < w.cols; ++c)
      for (int64_t r = 0; r < 16; ++r) {
        const int code = block[(c / 4) * 64 + r * 4 + c % 4];
        out[(b * 32 + c) * 16 + r] =
            group.scale[r] * static_cast<float>(code - group.zero[r]) + group.offset[r];
      }
  }
}

void decode_columns(const KernelColumns& k, float* out) {
  for (int64_t c = 0; c < k.cols; ++c)
    for (int64_t r = 0; r < 16; ++r) {
      const int code = k.bits == 8 ? k.codes[c * 16 + r] : (k.codes[c / 2 * 16 + r] >> (c % 2 * 4)) & 15;
      out[c * 16 + r] =
          __builtin_fmaf(load_float(k.scales, c, 2), static_cast<float>(code), load_float(k.offsets, c, 2));
    }
}

void quantize_row(const float* x, int64_t n, int64_t group, int8_t* codes, float* scales, int32_t* sums) {
  for (int64_t g = 0; g < n; g += group) {
    uint32_t max_bits = 0;  // of |x|: the order of the bits is the order of the values, NaN above infinity
    for (int64_t i = g; i < g + group; ++i) {
      uint32_t bits;
      __builtin_memcpy(&bits, x + i, 4);
      bits &= 0x7fffffffu;
      if (bits > max_bits) max_bits = bits;
    }
    const bool finite = max_bits < 0x7f800000u;
    const bool usable = finite && max_bits >= 0x0d800000u;  // 2^-100
    float max;
    __builtin_memcpy(&max, &max_bits, 4);
    const float inverse = usable ? 127.0f / max : 0.0f;
    const float scale = usable ? max / 127.0f : finite ? 0.0f : __builtin_nanf("");
    for (int64_t b = g; b < g + group; b += 32) {
      int32_t sum = 0;
      for (int64_t i = b; i < b + 32; ++i) {
        const int code = usable ? static_cast<int>(__builtin_rintf(x[i] * inverse)) : 0;
        codes[i] = static_cast<int8_t>(code);
        sum += code;
      }
      scales[b / 32] = scale;
      sums[b / 32] = sum;
    }
  }
}

float sum_lanes(float* lanes) {
  for (int width = 8; width > 0; width /= 2)
    for (int l = 0; l < width; ++l) lanes[l] += lanes[l + width];
  return lanes[0];
}

void rms_norm(const float* x, const float* gain, int64_t n, float epsilon, float* out) {
  float lanes[16] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i % 16] = __builtin_fmaf(x[i], x[i], lanes[i % 16]);
  const float r = 1.0f / __builtin_sqrtf(sum_lanes(lanes) / static_cast<float>(n) + epsilon);
  for (int64_t i = 0; i < n; ++i) out[i] = (x[i] * r) * gain[i];
}

void layer_norm(const float* x, const float* gain, const float* bias, int64_t n, float epsilon, float* out) {
  float lanes[16] = {}, squares[16] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i % 16] += x[i];
  const float mean = sum_lanes(lanes) / static_cast<float>(n);
  for (int64_t i = 0; i < n; ++i) {
    out[i] = x[i] - mean;
    squares[i % 16] = __builtin_fmaf(out[i], out[i], squares[i % 16]);
  }
  const float r = 1.0f / __builtin_sqrtf(sum_lanes(squares) / static_cast<float>(n) + epsilon);
  for (int64_t i = 0; i < n; ++i) out[i] = __builtin_fmaf(out[i] * r, gain[i], bias[i]);
}

float exp_kernel(float x) {
  x = x < kExpLow ? kExpLow : x > kExpHigh ? kExpHigh : x;
  const float k = __builtin_rintf(x * kExpLog2e);
  const float r = __builtin_fmaf(k, -kExpLn2Low, __builtin_fmaf(k, -kExpLn2High, x));
  float p = kExpCoefficients[6];
  for (int i = 5; i >= 0; --i) p = __builtin_fmaf(p, r, kExpCoefficients[i]);
  const uint32_t power_bits = static_cast<uint32_t>(static_cast<int32_t>(k) + 127) << 23;
  float power;
  __builtin_memcpy(&power, &power_bits, 4);
  return p * power;
}

void silu_mul(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = gate[i] / (1.0f + exp_kernel(-gate[i])) * up[i];
}

void gelu_tanh(float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float power = x[i] * __builtin_fmaf(x[i] * x[i], kGeluCubic, kGeluLinear);
    x[i] = x[i] / (1.0f + exp_kernel(power));
  }
}

void gelu_erf(float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float z = __builtin_fabsf(x[i]) * kSqrtHalf;
    const float t = 1.0f / __builtin_fmaf(z, kErfScale, 1.0f);
    float p = kErfCoefficients[4];
    for (int k = 3; k >= 0; --k) p = __builtin_fmaf(p, t, kErfCoefficients[k]);
    const float tail = x[i] * ((t * p) * exp_kernel(-(z * z)));
    x[i] = x[i] < 0 ? tail : x[i] - tail;
  }
}

float tanh_kernel(float v) {
  if (v <= kTanhSmall) {
    const float square = v * v;
    float p = kTanhCoefficients[4];
    for (int k = 3; k >= 0; --k) p = __builtin_fmaf(p, square, kTanhCoefficients[k]);
    return __builtin_fmaf(v * square, p, v);
  }
  const float e = exp_kernel(v * -2.0f);
  return (1.0f - e) / (1.0f + e);
}

void soft_cap(float* x, int64_t n, float factor, float cap) {
  for (int64_t i = 0; i < n; ++i) {
    const float y = x[i] * factor;
    x[i] = __builtin_copysignf(cap * tanh_kernel(__builtin_fabsf(y)), y);
  }
}

void softmax(float* x, int64_t n, float scale) {
  float max = x[0];
  for (int64_t i = 1; i < n; ++i) max = x[i] > max ? x[i] : max;
  float lanes[16] = {};
  for (int64_t i = 0; i < n; ++i) {
    x[i] = exp_kernel((x[i] - max) * scale);
    lanes[i % 16] += x[i];
  }
  const float inverse = 1.0f / sum_lanes(lanes);
  for (int64_t i = 0; i < n; ++i) x[i] *= inverse;
}

void rope(float* x, const float* cosine, const float* sine, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[i], b = x[i + half];
    x[i] = __builtin_fmaf(a, cosine[i], -(b * sine[i]));
    x[i + half] = __builtin_fmaf(b, cosine[i], a * sine[i]);
  }
}

int64_t int8_peak(int64_t loops) {
  int32_t sums[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  for (int64_t i = 0; i < loops; ++i)
    for (auto& sum : sums) {
      sum += static_cast<int8_t>(sum) * 3;
      asm volatile("" : "+r"(sum));  // or the loop would be computed at once
    }
  return loops * 8;
}

}  // namespace

extern const KernelTable kTable;
const KernelTable kTable = {.isa = "scalar",
                            .required_features = 0,
                            .matmul = matmul,
                            .float_matmul = float_matmul,
                            .decode_panel = decode_panel,
                            .decode_columns = decode_columns,
                            .quantize_row = quantize_row,
                            .rms_norm = rms_norm,
                            .layer_norm = layer_norm,
                            .silu_mul = silu_mul,
                            .gelu_tanh = gelu_tanh,
                            .gelu_erf = gelu_erf,
                            .soft_cap = soft_cap,
                            .softmax = softmax,
                            .rope = rope,
                            .int8_peak = int8_peak};

}  // namespace edgeq::isa::scalar
