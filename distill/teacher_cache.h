// SPDX-License-Identifier: Apache-2.0
// A teacher's distributions on disk (distill/teacher_rows.h): computed once, learned from in every epoch. A
// folder of HDF5 files, each with some sequences in order and named by the first of them; a file appears
// whole or not at all, so that a killed run goes on behind the last whole one and ends in the same bytes.
// Layout of a file, version 1:
//   /                  attributes format = "edgeq-teacher", version, first, count, and the fields of
//   TeacherKey
//   /<number>          a group per sequence, attributes tokens, entries
//     ids u8           token ids in 2 or 3 bytes, all low bytes first, then all next ones
//     top_k:           weights f16 [entries] and tail f16 [tokens]; entries = tokens * k
//     samples:         counts u8 [entries], places u8 [tokens]: entries of each row
// Not thread-safe (the HDF5 library is not).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "distill/teacher_rows.h"

namespace edgeq {

// What the distributions are of. A cache is valid only for an equal key.
struct TeacherKey {
  std::string teacher;    // hash of the model
  std::string sequences;  // sequences_hash of what it read
  int64_t count = 0;      // of sequences
  int64_t vocab = 0;      // columns of a row, 2 to 2^24
  TeacherForm form;
  std::string tool_version;
};

// A cache being written: sequences are added in order, each once.
class TeacherCacheWriter {
 public:
  // Goes on with what is there. Throws Error naming the first field that differs (found and expected) for a
  // folder of another key, naming the file for a damaged one.
  TeacherCacheWriter(std::string folder, const TeacherKey& key);
  // Sequences that are there: the number of the next to add.
  int64_t done() const { return next_; }
  // The rows of sequence done(), [tokens, vocab]. A file is written every so many sequences, and with the
  // last one. Throws Error as reduce_rows does, for another number of columns (with both), and for what the
  // disk refuses.
  void add(MatrixView<const float> log_probs);

 private:
  void write_part();

  std::string folder_;
  TeacherKey key_;
  int64_t next_ = 0, first_ = 0;
  std::vector<TeacherRows> rows_;  // not written yet, from `first_` on
};

class TeacherCache {
 public:
  // Throws Error for a cache of another key as above, and for one that is not complete.
  TeacherCache(std::string folder, const TeacherKey& key);
  // Throws Error naming the file and what is damaged.
  TeacherRows read(int64_t sequence) const;
  int64_t bytes() const { return bytes_; }  // of the files

 private:
  std::string folder_;
  TeacherKey key_;
  std::vector<int64_t> firsts_;
  int64_t bytes_ = 0;
};

}  // namespace edgeq
