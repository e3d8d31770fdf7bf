// SPDX-License-Identifier: Apache-2.0
// Runs a fuzzer's entry over the files of a corpus folder, and over damaged forms of each, in a build without
// libFuzzer. Whatever escapes the entry fails the run; so does an empty folder.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

namespace fs = std::filesystem;

constexpr size_t kDamages = 64;  // of each kind for each file

void run(const std::vector<char>& bytes) {
  // A copy of exactly the size, so that an address sanitizer sees the first byte too far.
  const std::vector<uint8_t> exact(bytes.begin(), bytes.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

// The file itself, cut short, and with single bytes set to extremes: evenly spaced, the same in every run.
void run_with_damages(const std::vector<char>& bytes) {
  run(bytes);
  const size_t step = bytes.size() / kDamages + 1;
  for (size_t at = 0; at < bytes.size(); at += step) {
    run({bytes.begin(), bytes.begin() + std::ptrdiff_t(at)});
    for (const char value : {'\0', '\x7f', '\xff'}) {
      std::vector<char> damaged = bytes;
      damaged[at] = value;
      run(damaged);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  size_t files = 0;
  for (int i = 1; i < argc; ++i) {
    std::set<fs::path> paths;  // sorted
    for (const auto& entry : fs::directory_iterator(argv[i])) paths.insert(entry.path());
    for (const fs::path& path : paths) {
      std::ifstream in(path, std::ios::binary);
      const std::vector<char> bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
      ++files;
      try {
        run_with_damages(bytes);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "%s, or a damaged form of it: %s\n", path.c_str(), error.what());
        return 1;
      }
    }
  }
  std::printf("%zu files replayed\n", files);
  return files == 0 ? 1 : 0;
}
