// SPDX-License-Identifier: Apache-2.0
// What a teacher has written so far, kept on disk beside the output (OUT.work), so that a killed run goes on.
// JSON lines: the first is the key, what the run was asked for; each of the others is one finished sample.
// A line that was cut by a kill, and what follows it, is dropped.
#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <string>

namespace edgeq {

struct WrittenTrace {
  std::string text;
  bool ended = false;  // by an end token or a stop text, not by the limit
};

class TraceJournal {
 public:
  using Key = std::map<std::string, std::string>;
  // Without a file when `path` is empty. Throws Error naming the field, what was found and expected, for a
  // journal of another key, and for one that cannot be read or written.
  TraceJournal(std::string path, const Key& key);
  bool has(int64_t item) const { return traces_.contains(item); }
  // Written through at once. Bytes that are no UTF-8 become U+FFFD. Throws Error.
  void add(int64_t item, const WrittenTrace& trace);
  const std::map<int64_t, WrittenTrace>& traces() const { return traces_; }
  // Once the output has its name.
  void remove();

 private:
  void read(const Key& key);
  void append(const std::string& line);

  std::string path_;
  std::ofstream file_;
  std::map<int64_t, WrittenTrace> traces_;
};

}  // namespace edgeq
