// SPDX-License-Identifier: Apache-2.0
#include "cli/torch_engine.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>

#include "core/error.h"
#include "core/version.h"

namespace edgeq {
namespace {

namespace fs = std::filesystem;

Error not_found(std::span<const std::string> folders) {
  Error error(fmt::format("the float engine is not there: no {} in {}", kTorchModuleFile,
                          fmt::join(folders, " or ")));
  error.set_hint("this edgeq was built with EDGEQ_TORCH=OFF; build it with LibTorch (Debian: libtorch-dev)");
  return error;
}

fs::path find_module(std::span<const std::string> folders) {
  for (const std::string& folder : folders) {
    std::error_code ignored;
    fs::path path = fs::path(folder) / kTorchModuleFile;
    if (fs::exists(path, ignored)) return path;
  }
  throw not_found(folders);
}

}  // namespace

const TorchModule& load_torch_module(std::span<const std::string> folders) {
  const fs::path path = find_module(folders);
  // Never closed: LibTorch does not survive being unloaded.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    Error error(fmt::format("the float engine cannot be loaded: {}", dlerror()));
    error.set_hint("is LibTorch installed where edgeq was built against it? (Debian: libtorch-dev)");
    throw error;
  }
  auto* entry = reinterpret_cast<TorchModuleEntry*>(dlsym(library, kTorchModuleEntry));
  if (entry == nullptr) throw Error(fmt::format("{} is not edgeq's float engine", path.string()));
  const TorchModule& module = *entry();
  if (module.version != version())
    throw Error(fmt::format("{} belongs to edgeq {}, this is {}", path.string(), module.version, version()));
  return module;
}

const TorchModule& torch_module() {
  static const TorchModule& module = [&]() -> const TorchModule& {
    const fs::path bin = fs::read_symlink("/proc/self/exe").parent_path();
    const std::string folders[] = {bin.string(), (bin.parent_path() / "lib" / "edgeq").string()};
    return load_torch_module(folders);
  }();
  return module;
}

}  // namespace edgeq
