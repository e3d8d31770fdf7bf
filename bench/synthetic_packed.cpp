// SPDX-License-Identifier: Apache-2.0
// Writes a packed model of Llama-2-7B's shape with random codes: for figures that depend on sizes alone.
//   synthetic_packed FOLDER OUT [SCHEME] [LAYERS]     FOLDER: a Hugging Face model, whose tokenizer it takes
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "core/random.h"
#include "models/packed_model.h"
#include "models/sites.h"
#include "models/tokenizer.h"

namespace edgeq {
namespace {

ModelConfig llama_7b(size_t layers) {
  ModelConfig config{
      .family = "llama", .name = "synthetic-7b", .hidden = 4096, .vocab = 32000, .context = 4096};
  config.layers.assign(layers, {.heads = 32, .kv_heads = 32, .head_dim = 128, .ffn = 11008});
  return config;
}

// Every bit of the codes is used, so that random bytes are random codes.
QuantizedTensor random_codes(const QuantScheme& scheme, const SiteShape& site, Random& random) {
  QuantizedTensor q(scheme, site.rows, site.cols);
  for (size_t i = 0; i + 8 <= q.codes.size(); i += 8) {
    const uint64_t bits = random.next();
    std::memcpy(&q.codes[i], &bits, 8);
  }
  std::ranges::generate(
      q.scales, [&] { return round_to_store(float(0.005 + 0.005 * random.uniform()), scheme.store); });
  return q;
}

void write(const std::string& tokenizer, const std::string& path, const QuantScheme& scheme, size_t layers) {
  const ModelConfig config = llama_7b(layers);
  Random random(7);
  PackedWriter writer(path);
  for (const SiteShape& site : all_sites(config)) writer.add(site.name, random_codes(scheme, site, random));
  for (const VectorShape& vector : all_vectors(config))
    writer.add_vector(vector.name, std::vector<float>(size_t(vector.size), 1.0f));
  const int64_t bytes =
      writer.finish(config, Tokenizer::from_folder(tokenizer).serialize(), R"({"tool":"synthetic_packed"})");
  fmt::print("{}: {} bytes, {}\n", path, bytes, scheme_text(scheme));
}

}  // namespace
}  // namespace edgeq

int main(int argc, char** argv) try {
  if (argc < 3 || argc > 5) {
    fmt::print(stderr, "usage: synthetic_packed FOLDER OUT [SCHEME] [LAYERS]\n");
    return 2;
  }
  const auto scheme = edgeq::parse_scheme(argc > 3 ? argv[3] : "int4-g32-sym");
  edgeq::write(argv[1], argv[2], scheme, size_t(argc > 4 ? std::atoi(argv[4]) : 32));
} catch (const std::exception& error) {
  fmt::print(stderr, "{}\n", error.what());
  return 1;
}
