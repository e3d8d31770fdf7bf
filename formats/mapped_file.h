// SPDX-License-Identifier: Apache-2.0
// A file seen as bytes: mapped read-only, so that weights are paged in when they are used and never copied.
// The file must not be shortened while it is mapped; a page that has gone away ends the process, as with any
// mapping.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace edgeq {

class MappedFile {
 public:
  // Throws Error naming the path: missing, unreadable, a folder or device, empty.
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  // Bytes from elsewhere under a name for messages; the parsers' tests and fuzzers come in here.
  static std::shared_ptr<const MappedFile> from_bytes(std::string name, std::vector<std::byte> bytes);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  int64_t size() const { return int64_t(bytes_.size()); }
  std::span<const std::byte> bytes() const { return bytes_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }
  // Bytes [offset, offset + count). Throws Error "<path>: <what> needs bytes a..b; the file has n" for
  // anything outside the file; any two 64-bit values are safe to pass.
  std::span<const std::byte> slice(uint64_t offset, uint64_t count, std::string_view what) const;

  // Hints to the system about a range of bytes() that is about to be read, or will not be read again soon.
  // They never fail and never change what is read.
  void will_need(std::span<const std::byte> range) const noexcept;
  void dont_need(std::span<const std::byte> range) const noexcept;

 private:
  explicit MappedFile(std::string path) : path_(std::move(path)) {}
  void advise(std::span<const std::byte> range, int advice) const noexcept;

  std::string path_;
  std::span<const std::byte> bytes_;
  std::vector<std::byte> owned_;  // from_bytes
  bool mapped_ = false;
};

}  // namespace edgeq
