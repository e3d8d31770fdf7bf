// SPDX-License-Identifier: Apache-2.0
#include "formats/gguf_types.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "core/error.h"

namespace edgeq {
namespace {

constexpr std::pair<std::string_view, uint64_t> kTypes[] = {
    {"u8", 1},   {"i8", 1},     {"u16", 2},   {"i16", 2}, {"u32", 4}, {"i32", 4}, {"f32", 4},
    {"bool", 1}, {"string", 0}, {"array", 0}, {"u64", 8}, {"i64", 8}, {"f64", 8}};
static_assert(std::size(kTypes) == size_t(GgufType::f64) + 1);

constexpr std::pair<Encoding, uint32_t> kNumbers[] = {
    {Encoding::f32, 0},   {Encoding::f16, 1},   {Encoding::q4_0, 2},    {Encoding::q4_1, 3},
    {Encoding::q5_0, 6},  {Encoding::q5_1, 7},  {Encoding::q8_0, 8},    {Encoding::q4_k, 12},
    {Encoding::q5_k, 13}, {Encoding::q6_k, 14}, {Encoding::iq4_nl, 20}, {Encoding::i8, 24},
    {Encoding::i16, 25},  {Encoding::i32, 26},  {Encoding::i64, 27},    {Encoding::f64, 28},
    {Encoding::bf16, 30}};

// Encodings that are met in the wild and not read, for the message.
constexpr std::pair<uint32_t, std::string_view> kUnread[] = {
    {9, "Q8_1"},    {10, "Q2_K"},    {11, "Q3_K"},  {15, "Q8_K"},  {16, "IQ2_XXS"},
    {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"}, {21, "IQ3_S"}, {22, "IQ2_S"},
    {23, "IQ4_XS"}, {29, "IQ1_M"},   {34, "TQ1_0"}, {35, "TQ2_0"}, {39, "MXFP4"}};

}  // namespace

std::string_view gguf_type_name(GgufType type) { return kTypes[size_t(type)].first; }
uint64_t gguf_type_bytes(GgufType type) { return kTypes[size_t(type)].second; }

Encoding encoding_of_ggml_type(uint32_t type) {
  for (const auto& [encoding, number] : kNumbers)
    if (number == type) return encoding;
  std::string_view name = "unknown";
  for (const auto& [number, known] : kUnread)
    if (number == type) name = known;
  throw Error(
      fmt::format("ggml type {} ({}) is not read; expected F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, "
                  "IQ4_NL, Q4_K, Q5_K or Q6_K",
                  type, name));
}

uint32_t ggml_type_of(Encoding encoding) {
  for (const auto& [known, number] : kNumbers)
    if (known == encoding) return number;
  throw Error(fmt::format("GGUF has no tensors of type {}", encoding_name(encoding)));
}

}  // namespace edgeq
