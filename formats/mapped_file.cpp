// SPDX-License-Identifier: Apache-2.0
#include "formats/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "core/error.h"

namespace edgeq {
namespace {

[[noreturn]] void fail(const std::string& path, int reason) {
  throw Error(fmt::format("cannot read {}: {}", path, std::generic_category().message(reason)));
}

// Closes on every way out; the mapping outlives the descriptor.
struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  // Without O_NONBLOCK, opening a pipe would wait for its writer.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.value < 0) fail(path, errno);
  struct stat status {};
  if (::fstat(file.value, &status) != 0) fail(path, errno);
  if (S_ISDIR(status.st_mode)) throw Error(fmt::format("{} is a folder; expected a file", path));
  if (!S_ISREG(status.st_mode))
    throw Error(fmt::format("{} is a device or pipe; expected a regular file", path));
  if (status.st_size == 0) throw Error(fmt::format("{} is empty", path));

  std::shared_ptr<MappedFile> mapped(new MappedFile(path));
  void* address = ::mmap(nullptr, size_t(status.st_size), PROT_READ, MAP_SHARED, file.value, 0);
  if (address == MAP_FAILED) fail(path, errno);
  mapped->bytes_ = {static_cast<const std::byte*>(address), size_t(status.st_size)};
  mapped->mapped_ = true;
  return mapped;
}

std::shared_ptr<const MappedFile> MappedFile::from_bytes(std::string name, std::vector<std::byte> bytes) {
  std::shared_ptr<MappedFile> held(new MappedFile(std::move(name)));
  held->owned_ = std::move(bytes);
  held->bytes_ = held->owned_;
  return held;
}

MappedFile::~MappedFile() {
  if (mapped_) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

std::span<const std::byte> MappedFile::slice(uint64_t offset, uint64_t count, std::string_view what) const {
  if (offset > bytes_.size() || count > bytes_.size() - offset)
    throw Error(fmt::format("{}: {} needs {} bytes at offset {}; the file has {} bytes", path_, what, count,
                            offset, bytes_.size()));
  return bytes_.subspan(size_t(offset), size_t(count));
}

void MappedFile::will_need(std::span<const std::byte> range) const noexcept { advise(range, MADV_WILLNEED); }
void MappedFile::dont_need(std::span<const std::byte> range) const noexcept { advise(range, MADV_DONTNEED); }

void MappedFile::advise(std::span<const std::byte> range, int advice) const noexcept {
  if (!mapped_ || range.empty()) return;
  const auto page = uintptr_t(::sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<uintptr_t>(range.data());
  const uintptr_t first = address / page * page;
  ::madvise(reinterpret_cast<void*>(first), address + range.size() - first, advice);
}

}  // namespace edgeq
