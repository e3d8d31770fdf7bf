// SPDX-License-Identifier: Apache-2.0
#include "models/any_model.h"

#include <filesystem>

#include "formats/hdf5_file.h"
#include "models/archive.h"
#include "models/coded_checkpoint.h"
#include "models/packed_checkpoint.h"
#include "models/quantization_config.h"

namespace edgeq {
namespace {

PackedModel open_packed(const std::string& path) {
  return PackedModel::open(path, {.verify_checksums = true, .release_pages = true});
}

}  // namespace

std::shared_ptr<const Checkpoint> open_any_checkpoint(const std::string& path) {
  if (is_hdf5(path)) return as_checkpoint(open_archive(path));
  if (is_packed_file(path)) return open_packed_checkpoint(open_packed(path));
  return open_checkpoint(path);
}

std::unique_ptr<CodedModel> open_any_coded(const std::string& path) {
  if (is_hdf5(path)) return open_archive(path);
  if (is_packed_file(path)) return coded_model(open_packed(path));
  return coded_model(std::shared_ptr<const Checkpoint>(open_checkpoint(path)));
}

std::vector<std::string> left_out(const std::string& path) {
  if (!std::filesystem::is_directory(path)) return {};
  const auto quantization = find_quantization_config(path);
  return quantization ? quantization->notes() : std::vector<std::string>();
}

}  // namespace edgeq
