// SPDX-License-Identifier: Apache-2.0
// HDF5 files as groups of named arrays, the one home of the HDF5 library (The HDF Group, HDF5 File Format
// Specification 3.0). Arrays are little endian and lie in chunks of about 1 MiB, each with a checksum. f16 is
// the 2-byte IEEE float, which h5py reads as float16; bf16, which HDF5 does not know, its 16 bits as an
// unsigned integer.
//
// What is read was written by anyone: a link that leads out of the file, raw data outside of it, and an array
// that claims more than its stored bytes can hold are refused. Every failure is an Error that names the
// group, array or attribute within the file. Not thread-safe: nor is the library.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace edgeq {

// An open group. The file is closed with the last of its groups.
class Hdf5Group {
 public:
  Hdf5Group(Hdf5Group&& other) noexcept;
  Hdf5Group& operator=(Hdf5Group&&) = delete;
  ~Hdf5Group();

  Hdf5Group create_group(const std::string& name);  // `name` has no '/'
  Hdf5Group open_group(const std::string& name) const;
  std::vector<std::string> names() const;  // of groups and arrays, sorted
  bool has(const std::string& name) const;

  void write_text(const char* attribute, const std::string& value);
  void write_number(const char* attribute, int64_t value);
  std::string read_text(const char* attribute) const;  // at most 64 kB
  int64_t read_number(const char* attribute) const;

  enum class Packing : uint8_t { none, deflate };
  // f32, f16, bf16, u8 or i8; one or two dimensions, not empty.
  void write(const std::string& name, const TensorView& values, Packing packing);
  // Throws Error unless the array has this type and shape. An empty `expected` takes any vector.
  Tensor read(const std::string& name, DType dtype, const Shape& expected) const;

  // A full disk shows here, not in the destructor. Before the group is let go.
  void flush();

 private:
  explicit Hdf5Group(int64_t id) : id_(id) {}
  friend Hdf5Group create_hdf5(const std::string& path);
  friend Hdf5Group open_hdf5(const std::string& path);
  void require(const std::string& name) const;

  int64_t id_;  // the library's, of a file's root or another group
};

// The root of a new file, which takes the place of an old one; of an existing file. The newest file format is
// written: only it has checksums over the metadata.
Hdf5Group create_hdf5(const std::string& path);
Hdf5Group open_hdf5(const std::string& path);

// Whether the file begins as HDF5 files do. False when it cannot be read.
bool is_hdf5(const std::string& path);

}  // namespace edgeq
