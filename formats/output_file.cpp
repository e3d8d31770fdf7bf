// SPDX-License-Identifier: Apache-2.0
#include "formats/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "formats/rename_whole.h"

namespace edgeq {
namespace {

constexpr size_t kBufferBytes = 256 * 1024;
constexpr size_t kMoveBytes = 4 * 1024 * 1024;

[[noreturn]] void fail(std::string_view verb, const std::string& path, int reason) {
  throw Error(fmt::format("cannot {} {}: {}", verb, path, std::generic_category().message(reason)));
}

// Advisory lock of the whole file, owned by the open file, so that it goes with the descriptor and does not
// disturb libraries that lock by flock(). False when another process holds it.
bool lock(int descriptor) {
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (::fcntl(descriptor, F_OFD_SETLK, &whole) == 0) return true;
  return errno != EAGAIN && errno != EACCES;  // a file system without locks: carry on without one
}

// The name still means the open file (another process may have renamed or removed it meanwhile).
bool still_named(int descriptor, const std::string& path) {
  struct stat named {
  }, opened{};
  return ::stat(path.c_str(), &named) == 0 && ::fstat(descriptor, &opened) == 0 &&
         named.st_ino == opened.st_ino && named.st_dev == opened.st_dev;
}

Error already_exists(const std::string& path) {
  Error error(fmt::format("{} exists already; expected a new file", path));
  error.set_hint("remove it or choose another output");
  return error;
}

}  // namespace

void make_folder_of(const std::string& path) {
  std::filesystem::path whole = std::filesystem::path(path).lexically_normal();
  if (!whole.has_filename()) whole = whole.parent_path();  // "folder/"
  const std::filesystem::path folder = whole.parent_path();
  std::error_code error;
  if (!folder.empty()) std::filesystem::create_directories(folder, error);
  if (error) throw Error(fmt::format("{}: folder cannot be made: {}", folder.string(), error.message()));
}

OutputFile::OutputFile(std::string path, Existing existing)
    : path_(std::move(path)), partial_(path_ + ".partial"), existing_(existing) {
  struct stat status {};
  if (::lstat(path_.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) throw Error(fmt::format("output {} is a folder; expected a file", path_));
    if (!S_ISREG(status.st_mode) && !S_ISLNK(status.st_mode))
      throw Error(fmt::format("output {} is a device or pipe; expected a regular file", path_));
    if (existing_ == Existing::refuse) throw already_exists(path_);
  }
  buffer_.reserve(kBufferBytes);
  open_partial();
}

OutputFile::~OutputFile() {
  if (descriptor_ < 0) return;
  ::unlink(partial_.c_str());
  ::close(descriptor_);
}

void OutputFile::open_partial() {
  for (;;) {
    const int descriptor = ::open(partial_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (descriptor < 0) fail("create", partial_, errno);
    if (!lock(descriptor)) {
      ::close(descriptor);
      throw Error(fmt::format("{} is being written by another process", partial_));
    }
    if (still_named(descriptor, partial_)) {
      descriptor_ = descriptor;
      break;
    }
    ::close(descriptor);  // its writer finished between our open and our lock: this file is no longer partial
  }
  if (::ftruncate(descriptor_, 0) != 0) {
    const int reason = errno;
    ::close(std::exchange(descriptor_, -1));
    fail("write", partial_, reason);
  }
}

void OutputFile::write(std::span<const std::byte> bytes) {
  EDGEQ_CHECK(descriptor_ >= 0, "a committed file is not written to");
  if (buffer_.size() + bytes.size() > kBufferBytes) flush();
  if (bytes.size() >= kBufferBytes) {
    write_through(bytes, position_);
    position_ += int64_t(bytes.size());
  } else {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }
}

void OutputFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void OutputFile::pad_to(int64_t alignment, char fill) {
  const int64_t rest = position() % alignment;
  if (rest != 0) write(std::string(size_t(alignment - rest), fill));
}

void OutputFile::patch(int64_t offset, std::span<const std::byte> bytes) {
  EDGEQ_CHECK(offset >= 0 && offset + int64_t(bytes.size()) <= position(), "patch stays inside the file");
  flush();
  write_through(bytes, offset);
}

void OutputFile::shift(int64_t offset, int64_t distance) {
  EDGEQ_CHECK(offset >= 0 && offset <= position() && distance >= 0, "shift moves bytes of the file");
  flush();
  // From the end, so that no byte is overwritten before it has moved.
  std::vector<std::byte> piece;
  for (int64_t end = position_; end > offset;) {
    const int64_t begin = std::max(offset, end - int64_t(kMoveBytes));
    piece.resize(size_t(end - begin));
    for (size_t got = 0; got < piece.size();) {
      const ssize_t n =
          ::pread(descriptor_, piece.data() + got, piece.size() - got, off_t(begin + int64_t(got)));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) fail("read back", partial_, n < 0 ? errno : EIO);
      got += size_t(n);
    }
    write_through(piece, begin + distance);
    end = begin;
  }
  position_ += distance;
}

void OutputFile::commit() {
  EDGEQ_CHECK(descriptor_ >= 0, "a file is committed once");
  flush();
  if (::fsync(descriptor_) != 0) fail("write", partial_, errno);
  const int failed = rename_whole(partial_, path_, existing_);
  if (failed == EEXIST && existing_ == Existing::refuse) throw already_exists(path_);
  if (failed != 0) fail("rename to its final name", partial_, failed);
  ::close(std::exchange(descriptor_, -1));
}

void OutputFile::flush() {
  if (buffer_.empty()) return;
  write_through(buffer_, position_);
  position_ += int64_t(buffer_.size());
  buffer_.clear();
}

void OutputFile::write_through(std::span<const std::byte> bytes, int64_t offset) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(descriptor_, bytes.data(), bytes.size(), off_t(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      fail(fmt::format("write {} bytes at offset {} of", bytes.size(), offset), partial_,
           n < 0 ? errno : ENOSPC);
    bytes = bytes.subspan(size_t(n));
    offset += n;
  }
}

void write_file(const std::string& path, std::string_view text, OutputFile::Existing existing) {
  OutputFile out(path, existing);
  out.write(text);
  out.commit();
}

}  // namespace edgeq
