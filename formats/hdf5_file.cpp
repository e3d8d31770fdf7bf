// SPDX-License-Identifier: Apache-2.0
#include "formats/hdf5_file.h"

#include <fmt/format.h>
#include <hdf5.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <utility>

#include "core/error.h"

namespace edgeq {
namespace {

static_assert(sizeof(hid_t) == sizeof(int64_t), "HDF5 1.10 and later");

constexpr int64_t kChunkBytes = 1 << 20;  // what one checksum covers
constexpr int64_t kLargestRatio = 1032;   // of deflate

// The HDF5 library prints its error stack unless told otherwise, and at exit it complains about what a
// damaged file left open inside it.
void quiet() {
  [[maybe_unused]] static const bool once = [] {
    H5dont_atexit();  // every file is closed by its group
    return H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0;
  }();
}

// What the library says about the call that just failed: the innermost entry of its error stack.
std::string library_message() {
  std::string text = "no details";
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_UPWARD,
      [](unsigned depth, const H5E_error2_t* entry, void* out) -> herr_t {
        if (depth == 0 && entry->desc != nullptr) *static_cast<std::string*>(out) = entry->desc;
        return 0;
      },
      &text);
  return text;
}

Error failure(std::string_view doing) {
  return Error(fmt::format("cannot {}: {}", doing, library_message()));
}

void check(herr_t status, std::string_view doing) {
  if (status < 0) throw failure(doing);
}

hid_t check_id(hid_t id, std::string_view doing) {
  if (id < 0) throw failure(doing);
  return id;
}

// Owns one HDF5 identifier. Creation that failed throws, naming what was being done.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle(hid_t id, Close close, std::string_view doing) : id_(check_id(id, doing)), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&&) = delete;
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  operator hid_t() const { return id_; }

 private:
  hid_t id_;
  Close close_;
};

void write_attribute(hid_t owner, const char* name, hid_t type, const void* value) {
  const std::string doing = fmt::format("write attribute {}", name);
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose, "make a scalar");
  const Handle attribute(H5Acreate2(owner, name, type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose, doing);
  check(H5Awrite(attribute, type, value), doing);
}

Handle string_type(size_t bytes) {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose, "make a string type");
  check(H5Tset_size(type, bytes), "size a string");
  check(H5Tset_cset(type, H5T_CSET_UTF8), "set a string's character set");
  return type;
}

Handle open_attribute(hid_t owner, const char* name) {
  return {H5Aopen(owner, name, H5P_DEFAULT), H5Aclose, fmt::format("read attribute {}", name)};
}

// IEEE 754 binary16: sign in bit 15, 5 bits of exponent from bit 10 with bias 15, 10 of mantissa.
Handle half_type() {
  Handle type(H5Tcopy(H5T_IEEE_F32LE), H5Tclose, "make the f16 type");
  check(H5Tset_fields(type, 15, 10, 5, 0, 10), "lay out the f16 type");
  check(H5Tset_size(type, 2), "size the f16 type");
  check(H5Tset_ebias(type, 15), "bias the f16 type");
  return type;
}

Handle stored_type(DType dtype) {
  const auto copy = [](hid_t type) { return Handle(H5Tcopy(type), H5Tclose, "make a type"); };
  switch (dtype) {
    case DType::f32: return copy(H5T_IEEE_F32LE);
    case DType::f16: return half_type();
    case DType::bf16: return copy(H5T_STD_U16LE);
    case DType::u8: return copy(H5T_STD_U8LE);
    case DType::i8: return copy(H5T_STD_I8LE);
    default: throw_bug(__FILE__, __LINE__, "dtype", "an array of a type that files here do not have");
  }
}

// How an object is created: without the times that the library would write into it, so that equal contents
// are equal bytes.
Handle without_times(hid_t kind, const std::string& doing) {
  Handle list(H5Pcreate(kind), H5Pclose, doing);
  check(H5Pset_obj_track_times(list, false), doing);
  return list;
}

// The newest file format: only it has checksums over the metadata.
Handle newest_format() {
  Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "make a file");
  check(H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST), "choose the file format");
  return access;
}

hid_t open_root(const Handle& file) {
  return check_id(H5Gopen2(file, "/", H5P_DEFAULT), "open the root group");
}

Shape shape_of(hid_t dataset, const std::string& name, size_t rank, std::string_view doing) {
  const Handle space(H5Dget_space(dataset), H5Sclose, doing);
  const int found = H5Sget_simple_extent_ndims(space);
  if (found != int(rank)) throw Error(fmt::format("{} has {} dimensions; expected {}", name, found, rank));
  std::array<hsize_t, 2> dims{};
  check(H5Sget_simple_extent_dims(space, dims.data(), nullptr), doing);
  Shape shape;
  for (size_t i = 0; i < rank; ++i) shape.push_back(int64_t(std::min<hsize_t>(dims[i], INT64_MAX)));
  return shape;
}

// Refuses an array whose bytes lie elsewhere, and one that would be allocated for nothing.
void check_storage(hid_t dataset, const std::string& name, const Shape& shape, DType dtype,
                   std::string_view doing) {
  const Handle layout(H5Dget_create_plist(dataset), H5Pclose, doing);
  if (H5Pget_layout(layout) != H5D_CHUNKED) throw Error(fmt::format("{} is not stored in chunks", name));
  const int64_t ratio = H5Pget_nfilters(layout) > 1 ? kLargestRatio : 1;  // the checksum is one filter
  const auto stored = int64_t(std::min<hsize_t>(H5Dget_storage_size(dataset), INT64_MAX / kLargestRatio));
  const int64_t values = element_count(shape);
  if (values == 0 || values > stored * ratio / dtype_bytes(dtype))
    throw Error(fmt::format("{} claims shape {} but stores {} bytes", name, shape_text(shape), stored));
}

}  // namespace

Hdf5Group::Hdf5Group(Hdf5Group&& other) noexcept : id_(std::exchange(other.id_, -1)) {}
Hdf5Group::~Hdf5Group() {
  if (id_ >= 0) H5Gclose(id_);
}

Hdf5Group Hdf5Group::create_group(const std::string& name) {
  EDGEQ_CHECK(!name.empty() && name.find('/') == std::string::npos, "a group's name is one HDF5 link");
  const std::string doing = fmt::format("write group {}", name);
  const Handle timeless = without_times(H5P_GROUP_CREATE, doing);
  return Hdf5Group(check_id(H5Gcreate2(id_, name.c_str(), H5P_DEFAULT, timeless, H5P_DEFAULT), doing));
}

Hdf5Group Hdf5Group::open_group(const std::string& name) const {
  require(name);
  return Hdf5Group(
      check_id(H5Gopen2(id_, name.c_str(), H5P_DEFAULT), fmt::format("open {} as a group", name)));
}

std::vector<std::string> Hdf5Group::names() const {
  std::vector<std::string> names;
  const auto add = [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
    static_cast<std::vector<std::string>*>(out)->emplace_back(name);
    return 0;
  };
  check(H5Literate(id_, H5_INDEX_NAME, H5_ITER_INC, nullptr, add, &names), "list the groups");
  return names;
}

bool Hdf5Group::has(const std::string& name) const { return H5Lexists(id_, name.c_str(), H5P_DEFAULT) > 0; }

// Links may lead to other files; those of ours never do.
void Hdf5Group::require(const std::string& name) const {
  if (!has(name)) throw Error(fmt::format("{} is missing", name));
  H5L_info_t info{};
  check(H5Lget_info(id_, name.c_str(), &info, H5P_DEFAULT), fmt::format("find {}", name));
  if (info.type != H5L_TYPE_HARD) throw Error(fmt::format("{} is a link to another place", name));
}

void Hdf5Group::write_text(const char* attribute, const std::string& value) {
  write_attribute(id_, attribute, string_type(value.size() + 1), value.c_str());
}

void Hdf5Group::write_number(const char* attribute, int64_t value) {
  write_attribute(id_, attribute, H5T_NATIVE_INT64, &value);
}

std::string Hdf5Group::read_text(const char* name) const {
  constexpr size_t kLongest = 1 << 16;
  const Handle attribute = open_attribute(id_, name);
  const Handle type(H5Aget_type(attribute), H5Tclose, fmt::format("read the type of attribute {}", name));
  const size_t bytes = H5Tget_size(type);
  const bool is_text = H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0 &&
                       H5Aget_storage_size(attribute) == bytes && bytes >= 1 && bytes <= kLongest;
  if (!is_text) throw Error(fmt::format("attribute {} is not a text of 1 to {} bytes", name, kLongest));
  std::string value(bytes, '\0');
  check(H5Aread(attribute, type, value.data()), fmt::format("read attribute {}", name));
  value.resize(std::min(value.find('\0'), value.size()));
  return value;
}

int64_t Hdf5Group::read_number(const char* name) const {
  const Handle attribute = open_attribute(id_, name);
  if (H5Aget_storage_size(attribute) != sizeof(int64_t))
    throw Error(fmt::format("attribute {} is not one 64-bit integer", name));
  int64_t value = 0;
  check(H5Aread(attribute, H5T_NATIVE_INT64, &value), fmt::format("read attribute {}", name));
  return value;
}

void Hdf5Group::write(const std::string& name, const TensorView& values, Packing packing) {
  const size_t rank = values.shape.size();
  EDGEQ_CHECK(values.size() > 0 && rank <= 2, "an array has values, in one or two dimensions");
  const std::string doing = fmt::format("write {}", name);
  std::array<hsize_t, 2> dims{};
  std::ranges::copy(values.shape, dims.begin());
  const auto chunks = hsize_t((values.bytes() + kChunkBytes - 1) / kChunkBytes);
  std::array<hsize_t, 2> chunk = dims;  // of whole rows, all alike
  chunk[0] = (dims[0] + chunks - 1) / chunks;

  const Handle space(H5Screate_simple(int(rank), dims.data(), nullptr), H5Sclose, doing);
  const Handle layout = without_times(H5P_DATASET_CREATE, doing);
  check(H5Pset_chunk(layout, int(rank), chunk.data()), doing);
  if (packing == Packing::deflate) check(H5Pset_deflate(layout, 1), doing);
  check(H5Pset_fletcher32(layout), doing);
  const Handle type = stored_type(values.dtype);
  const Handle dataset(H5Dcreate2(id_, name.c_str(), type, space, H5P_DEFAULT, layout, H5P_DEFAULT), H5Dclose,
                       doing);
  check(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data), doing);
}

Tensor Hdf5Group::read(const std::string& name, DType dtype, const Shape& expected) const {
  require(name);
  const std::string doing = fmt::format("read {}", name);
  const Handle dataset(H5Dopen2(id_, name.c_str(), H5P_DEFAULT), H5Dclose, doing);
  const Handle type = stored_type(dtype);
  const Handle found(H5Dget_type(dataset), H5Tclose, doing);
  if (H5Tequal(found, type) <= 0) throw Error(fmt::format("{} is not of type {}", name, dtype_name(dtype)));
  const Shape shape = shape_of(dataset, name, expected.empty() ? 1 : expected.size(), doing);
  if (!expected.empty() && shape != expected)
    throw Error(fmt::format("{} has shape {}; expected {}", name, shape_text(shape), shape_text(expected)));
  check_storage(dataset, name, shape, dtype, doing);
  Tensor values(dtype, shape);
  check(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), doing);
  return values;
}

void Hdf5Group::flush() { check(H5Fflush(id_, H5F_SCOPE_GLOBAL), "write the file"); }

Hdf5Group create_hdf5(const std::string& path) {
  quiet();
  const Handle access = newest_format();
  const Handle timeless = without_times(H5P_FILE_CREATE, "create the file");
  const Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, timeless, access), H5Fclose, "create the file");
  return Hdf5Group(open_root(file));
}

Hdf5Group open_hdf5(const std::string& path) {
  quiet();
  if (!std::filesystem::exists(path)) throw Error("no such file");
  const Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose, "open as HDF5");
  return Hdf5Group(open_root(file));
}

bool is_hdf5(const std::string& path) {
  constexpr std::string_view kSignature("\x89HDF\r\n\x1a\n", 8);
  std::array<char, 8> found{};
  std::ifstream(path, std::ios::binary).read(found.data(), std::ssize(found));
  return std::string_view(found.data(), found.size()) == kSignature;
}

}  // namespace edgeq
