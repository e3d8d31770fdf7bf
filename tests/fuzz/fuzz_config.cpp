// SPDX-License-Identifier: Apache-2.0
// Model configs from arbitrary bytes (config.json, edgeq's own JSON, GGUF metadata): only Error may come out,
// and an accepted config is valid, has countable weights and survives its own JSON.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/error.h"
#include "formats/gguf.h"
#include "models/config.h"
#include "models/sites.h"

using namespace edgeq;

namespace {

void check_accepted(ModelConfig config) {
  validate(config);
  EDGEQ_CHECK(config.weight_count() > 0, "the weights of an accepted config can be counted");
  for (const SiteShape& site : all_sites(config))
    EDGEQ_CHECK(site.rows > 0 && site.cols > 0, "an accepted config has no empty weight");
  config.name.clear();  // repaired when it is not UTF-8
  EDGEQ_CHECK(config_from_json(config_to_json(config)) == config, "a config survives its own JSON");
}

template <class Read>
void try_reading(Read&& read) {
  ModelConfig config;
  try {
    config = read();
  } catch (const Error&) {
    return;
  }
  check_accepted(std::move(config));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.starts_with("GGUF")) {
    const auto* bytes = reinterpret_cast<const std::byte*>(data);
    try_reading([&] {
      return read_gguf_config(GgufFile(MappedFile::from_bytes("input", {bytes, bytes + size})));
    });
    return 0;
  }
  try_reading([&] { return parse_hf_config(text); });
  try_reading([&] { return config_from_json(text); });
  return 0;
}
