// SPDX-License-Identifier: Apache-2.0
#include "calibration/stats_file.h"

#include <fmt/format.h>
#include <hdf5.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "core/error.h"
#include "formats/output_file.h"

namespace edgeq {
namespace {

namespace fs = std::filesystem;

constexpr char kFormat[] = "edgeq-stats";
constexpr int64_t kVersion = 1;
constexpr hsize_t kChunkElements = 1 << 18;  // 1 MiB: what one checksum covers

// The HDF5 library prints its error stack unless told otherwise, and at exit it complains about what a
// damaged file left open inside it.
class QuietHdf5 {
 public:
  QuietHdf5() {
    H5dont_atexit();  // every file is closed by its Handle; fails without harm when the library is in use
                      // already
    H5Eget_auto2(H5E_DEFAULT, &print_, &argument_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  ~QuietHdf5() { H5Eset_auto2(H5E_DEFAULT, print_, argument_); }
  QuietHdf5(const QuietHdf5&) = delete;
  QuietHdf5& operator=(const QuietHdf5&) = delete;

 private:
  H5E_auto2_t print_ = nullptr;
  void* argument_ = nullptr;
};

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

// Owns one HDF5 identifier. Creation that failed throws, naming what was being done.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle(hid_t id, Close close, std::string_view doing) : id_(id), close_(close) {
    if (id < 0) throw failure(doing);
  }
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

Handle scalar_space() { return {H5Screate(H5S_SCALAR), H5Sclose, "make a scalar"}; }

void write_attribute(hid_t owner, const char* name, hid_t type, const void* value) {
  const std::string doing = fmt::format("write attribute {}", name);
  const Handle space = scalar_space();
  const Handle attribute(H5Acreate2(owner, name, type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose, doing);
  check(H5Awrite(attribute, type, value), doing);
}

Handle string_type(size_t bytes) {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose, "make a string type");
  check(H5Tset_size(type, bytes), "size a string");
  check(H5Tset_cset(type, H5T_CSET_UTF8), "set a string's character set");
  return type;
}

void write_text(hid_t owner, const char* name, const std::string& value) {
  write_attribute(owner, name, string_type(value.size() + 1), value.c_str());
}

void write_number(hid_t owner, const char* name, int64_t value) {
  write_attribute(owner, name, H5T_NATIVE_INT64, &value);
}

Handle open_attribute(hid_t owner, const char* name) {
  return {H5Aopen(owner, name, H5P_DEFAULT), H5Aclose, fmt::format("read attribute {}", name)};
}

std::string read_text(hid_t owner, const char* name) {
  constexpr size_t kLongest = 1 << 16;
  const Handle attribute = open_attribute(owner, name);
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

int64_t read_number(hid_t owner, const char* name) {
  const Handle attribute = open_attribute(owner, name);
  if (H5Aget_storage_size(attribute) != sizeof(int64_t))
    throw Error(fmt::format("attribute {} is not one 64-bit integer", name));
  int64_t value = 0;
  check(H5Aread(attribute, H5T_NATIVE_INT64, &value), fmt::format("read attribute {}", name));
  return value;
}

void write_dataset(hid_t group, const char* name, const Tensor& values) {
  EDGEQ_CHECK(!values.empty(), "a statistic has values");
  const std::string doing = fmt::format("write {}", name);
  const int rank = int(values.shape().size());
  std::array<hsize_t, 2> dims{}, chunk{};
  for (size_t i = 0; i < size_t(rank); ++i) dims[i] = hsize_t(values.shape()[i]);
  const auto chunks =
      (hsize_t(values.size()) + kChunkElements - 1) / kChunkElements;  // of whole rows, all alike
  chunk = dims;
  chunk[0] = (dims[0] + chunks - 1) / chunks;

  const Handle space(H5Screate_simple(rank, dims.data(), nullptr), H5Sclose, doing);
  const Handle layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, doing);
  check(H5Pset_chunk(layout, rank, chunk.data()), doing);
  check(H5Pset_fletcher32(layout), doing);
  const Handle dataset(H5Dcreate2(group, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, layout, H5P_DEFAULT),
                       H5Dclose, doing);
  check(H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.f32()), doing);
}

// Refuses another shape than `expected`; an empty `expected` accepts any vector.
Tensor read_dataset(hid_t group, const char* name, const Shape& expected) {
  const std::string doing = fmt::format("read {}", name);
  const Handle dataset(H5Dopen2(group, name, H5P_DEFAULT), H5Dclose, doing);
  const Handle space(H5Dget_space(dataset), H5Sclose, doing);
  const int rank = H5Sget_simple_extent_ndims(space);
  if (rank != int(expected.empty() ? 1 : expected.size()))
    throw Error(
        fmt::format("{} has {} dimensions; expected {}", name, rank, expected.empty() ? 1 : expected.size()));
  std::array<hsize_t, 2> dims{};
  check(H5Sget_simple_extent_dims(space, dims.data(), nullptr), doing);
  Shape shape;
  for (int i = 0; i < rank; ++i) shape.push_back(int64_t(std::min<hsize_t>(dims[size_t(i)], INT64_MAX)));
  if (!expected.empty() && shape != expected)
    throw Error(fmt::format("{} has shape {}; expected {}", name, shape_text(shape), shape_text(expected)));
  // Stored bytes include checksums: a dataset that claims more than it stores would be allocated for nothing.
  const auto stored = int64_t(H5Dget_storage_size(dataset));
  if (element_count(shape) == 0 || element_count(shape) > stored / int64_t(sizeof(float)))
    throw Error(fmt::format("{} claims shape {} but stores {} bytes", name, shape_text(shape), stored));
  Tensor values(DType::f32, shape);
  check(H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.f32()), doing);
  return values;
}

void write_key(hid_t file, const StatsKey& key) {
  write_text(file, "format", kFormat);
  write_number(file, "version", kVersion);
  write_text(file, "model_hash", key.model_hash);
  write_text(file, "corpus_name", key.corpus_name);
  write_text(file, "corpus_hash", key.corpus_hash);
  write_number(file, "windows", key.windows);
  write_number(file, "window_tokens", key.window_tokens);
  write_text(file, "tool_version", key.tool_version);
}

StatsKey read_key(hid_t file) {
  const std::string format = read_text(file, "format");
  if (format != kFormat) throw Error(fmt::format("format is \"{}\"; expected \"{}\"", format, kFormat));
  const int64_t version = read_number(file, "version");
  if (version != kVersion) throw Error(fmt::format("version is {}; expected {}", version, kVersion));
  return {.model_hash = read_text(file, "model_hash"),
          .corpus_name = read_text(file, "corpus_name"),
          .corpus_hash = read_text(file, "corpus_hash"),
          .windows = read_number(file, "windows"),
          .window_tokens = read_number(file, "window_tokens"),
          .tool_version = read_text(file, "tool_version")};
}

void require_key(const StatsKey& found, const StatsKey& expected) {
  const auto field = [](std::string_view name, const auto& is, const auto& should) {
    if (is == should) return;
    Error error(fmt::format("statistics of another {}: found {}, expected {}", name, is, should));
    throw error.set_hint("delete the file, or name another one, to collect them anew");
  };
  field("model (model_hash)", found.model_hash, expected.model_hash);
  field("corpus (corpus_name)", found.corpus_name, expected.corpus_name);
  field("corpus (corpus_hash)", found.corpus_hash, expected.corpus_hash);
  field("number of windows (windows)", found.windows, expected.windows);
  field("window length (window_tokens)", found.window_tokens, expected.window_tokens);
  field("tool version (tool_version)", found.tool_version, expected.tool_version);
}

void write_input(hid_t file, const std::string& name, const InputStats& stats) {
  EDGEQ_CHECK(!name.empty() && name.find('/') == std::string::npos, "an input's name is one HDF5 link");
  const Handle group(H5Gcreate2(file, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose,
                     fmt::format("write group {}", name));
  write_number(group, "tokens", stats.tokens);
  write_dataset(group, "abs_max", stats.abs_max);
  write_dataset(group, "mean", stats.mean);
  write_dataset(group, "square_mean", stats.square_mean);
  if (!stats.hessian.empty()) write_dataset(group, "hessian", stats.hessian);
}

InputStats read_input(hid_t file, const std::string& name) {
  const Handle group(H5Gopen2(file, name.c_str(), H5P_DEFAULT), H5Gclose, "open the group");
  InputStats stats;
  stats.tokens = read_number(group, "tokens");
  if (stats.tokens < 1) throw Error(fmt::format("tokens is {}; expected at least 1", stats.tokens));
  stats.abs_max = read_dataset(group, "abs_max", {});
  const int64_t width = stats.width();
  stats.mean = read_dataset(group, "mean", {width});
  stats.square_mean = read_dataset(group, "square_mean", {width});
  if (H5Lexists(group, "hessian", H5P_DEFAULT) > 0)
    stats.hessian = read_dataset(group, "hessian", {width, width});
  return stats;
}

std::vector<std::string> link_names(hid_t file) {
  std::vector<std::string> names;
  const auto add = [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
    static_cast<std::vector<std::string>*>(out)->emplace_back(name);
    return 0;
  };
  check(H5Literate(file, H5_INDEX_NAME, H5_ITER_INC, nullptr, add, &names), "list the groups");
  return names;
}

// The newest file format: only it has checksums over the metadata.
Handle newest_format() {
  Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "make a file");
  check(H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST), "choose the file format");
  return access;
}

Handle open_for_reading(const std::string& path) {
  if (!fs::exists(path)) throw Error("no such file");
  return {H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose, "open as HDF5"};
}

void write_file(const std::string& path, const StatsKey& key, const StatsMap& stats) {
  const Handle access = newest_format();
  const Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access), H5Fclose, "create the file");
  write_key(file, key);
  for (const auto& entry : stats)
    with_context(entry.first, [&] { write_input(file, entry.first, entry.second); });
  check(H5Fflush(file, H5F_SCOPE_GLOBAL), "write the file");  // a full disk shows here, not in the destructor
}

}  // namespace

void write_stats(const std::string& path, const StatsKey& key, const StatsMap& stats) {
  const QuietHdf5 quiet;
  OutputFile output(path, OutputFile::Existing::replace);
  with_context(path, [&] { write_file(output.partial_path(), key, stats); });
  output.commit();
}

StatsKey read_stats_key(const std::string& path) {
  const QuietHdf5 quiet;
  return with_context(path, [&] { return read_key(open_for_reading(path)); });
}

StatsMap read_stats(const std::string& path, const StatsKey& expected) {
  const QuietHdf5 quiet;
  return with_context(path, [&] {
    const Handle file = open_for_reading(path);
    require_key(read_key(file), expected);
    StatsMap stats;
    for (const std::string& name : link_names(file))
      stats.emplace(name, with_context(name, [&] { return read_input(file, name); }));
    return stats;
  });
}

}  // namespace edgeq
