// SPDX-License-Identifier: Apache-2.0
// A file that exists under its final name only when it is whole. Bytes go to "<path>.partial", which is held
// by a lock while it is written; commit() syncs it to disk and renames it; without commit() the destructor
// removes it. A ".partial" that a killed run left behind is taken over. Every write is checked: a full disk
// or a file size limit is an Error with the system's reason.
//
// A library that insists on opening its file itself (HDF5) is given partial_path() to truncate and fill, and
// is closed before commit().
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace edgeq {

// Makes the folder that `path` lies in, and those above it. Throws Error.
void make_folder_of(const std::string& path);

class OutputFile {
 public:
  enum class Existing : uint8_t { refuse, replace };

  // Throws Error: the path exists (Existing::refuse) or is a folder or device, its folder is missing or
  // unwritable, another process is writing it.
  explicit OutputFile(std::string path, Existing existing = Existing::refuse);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  const std::string& path() const { return path_; }
  const std::string& partial_path() const { return partial_; }

  // Bytes written so far; where the next write() goes.
  int64_t position() const { return position_ + int64_t(buffer_.size()); }
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  // `fill` bytes until position() is a multiple of `alignment`.
  void pad_to(int64_t alignment, char fill = '\0');
  // Overwrites bytes that were written before: [offset, offset + bytes.size()) lies below position().
  void patch(int64_t offset, std::span<const std::byte> bytes);
  // Moves everything from `offset` on by `distance` bytes towards the end: room for a header that outgrew its
  // place. The bytes of the gap are unspecified.
  void shift(int64_t offset, int64_t distance);

  // Nothing may be written afterwards. Throws Error when the final path has come into being meanwhile
  // (Existing::refuse).
  void commit();

 private:
  void open_partial();
  void flush();
  void write_through(std::span<const std::byte> bytes, int64_t offset);

  std::string path_, partial_;
  Existing existing_;
  int descriptor_ = -1;
  int64_t position_ = 0;           // bytes handed to the system
  std::vector<std::byte> buffer_;  // bytes not yet handed over
};

// A small file in one go. Throws Error as OutputFile does.
void write_file(const std::string& path, std::string_view text,
                OutputFile::Existing existing = OutputFile::Existing::refuse);

}  // namespace edgeq
