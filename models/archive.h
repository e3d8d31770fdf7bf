// SPDX-License-Identifier: Apache-2.0
// A compressed model as an HDF5 archive: everything that edgeq knows of it, laid out to be read with h5py or
// HDFView years from now, without edgeq. Nothing is rounded: any scheme is held, and read back equal.
//
//   /                      attributes format = "edgeq-archive", version = 1
//   /kv                    u8 [n]: how the runtime keeps keys and values (models/kv_scheme.h); absent: f32
//   /config, /provenance   u8 [n]: JSON          /tokenizer   u8 [n]: edgeq's own form
//   /weights/<site>        attributes rows, cols and
//     scheme               core/quant_scheme.h: datasets codes u8 [rows, cols], one code each, and those of
//                          zeros u8, scales, offsets, scale_codes i8, offset_codes i8, outer_scales,
//                          outer_offsets [rows, groups or outer groups] that the scheme has; the meaning is
//                          that of core/quantized_tensor.h. Floats are f16 or f32, as the scheme stores them
//     dtype                F32, F16 or BF16: dataset values [rows, cols]; BF16 as its 16 bits, u16
//   /vectors/<name>        f32 [n]: norms and biases
// Arrays are deflated, with checksums (formats/hdf5_file.h).
#pragma once

#include <memory>
#include <string>

#include "formats/output_file.h"
#include "models/coded_model.h"

namespace edgeq {

// Returns the bytes written. Memory: one weight, a byte for each code.
int64_t write_archive(const CodedModel& model, const std::string& path, OutputFile::Existing existing);

// Checks that every weight and vector the config calls for is there, and nothing else. Arrays are checked as
// they are read: types, shapes, codes within the scheme, finite floats. Throws Error naming file and array.
std::unique_ptr<CodedModel> open_archive(const std::string& path);

}  // namespace edgeq
