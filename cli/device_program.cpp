// SPDX-License-Identifier: Apache-2.0
#include "cli/device_program.h"

#include <elf.h>
#include <fmt/format.h>

#include <cstring>
#include <filesystem>

#include "core/error.h"
#include "formats/mapped_file.h"

namespace edgeq {
namespace {

namespace fs = std::filesystem;

template <class T>
T read_at(const MappedFile& file, uint64_t offset, std::string_view what) {
  T value;
  std::memcpy(&value, file.slice(offset, sizeof value, what).data(), sizeof value);
  return value;
}

std::string preset_for(const std::string& architecture) {
  return architecture == "aarch64" ? "device-arm64" : "device";
}

Error refusal(const std::string& path, const std::string& architecture, const std::string& found) {
  return Error(fmt::format("{}: {}; expected a static edgeq-run for {}", path, found, architecture))
      .set_hint(fmt::format("./dev build {}, or name one with --edgeq-run PATH", preset_for(architecture)));
}

// What keeps the file from running on its own on that architecture; "" when nothing does.
std::string fault_of(const std::string& path, const std::string& architecture) {
  const auto file = MappedFile::open(path);
  constexpr int kMagicBytes = SELFMAG;
  if (file->size() < int64_t(sizeof(Elf64_Ehdr)) ||
      std::memcmp(file->bytes().data(), ELFMAG, kMagicBytes) != 0)
    return "not a program";
  const auto header = read_at<Elf64_Ehdr>(*file, 0, "the ELF header");
  const int wanted = architecture == "aarch64" ? EM_AARCH64 : EM_X86_64;
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != wanted)
    return fmt::format("a program for another machine (ELF machine {})", header.e_machine);
  for (uint64_t i = 0; i < header.e_phnum; ++i) {
    const auto part = read_at<Elf64_Phdr>(*file, header.e_phoff + i * sizeof(Elf64_Phdr), "a program header");
    if (part.p_type == PT_INTERP) return "a program that loads shared libraries";
  }
  return "";
}

}  // namespace

std::string device_program(const std::string& architecture, const std::string& chosen) {
  std::string path = chosen;
  if (path.empty()) {  // build/release/bin/edgeq -> build/device/bin/edgeq-run
    const fs::path builds = fs::read_symlink("/proc/self/exe").parent_path() / "../..";
    path = (builds / preset_for(architecture) / "bin/edgeq-run").lexically_normal().string();
  }
  std::error_code ignored;
  if (!fs::exists(path, ignored)) throw refusal(path, architecture, "missing");
  if (const std::string fault = fault_of(path, architecture); !fault.empty())
    throw refusal(path, architecture, fault);
  return path;
}

}  // namespace edgeq
