// SPDX-License-Identifier: Apache-2.0
#include "recipe/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "core/error.h"
#include "recipe/device_manifest.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

const std::string kWhole =
    "title: Board\n"
    "architecture: aarch64\n"
    "cpu: {threads: 4, features: [asimddp, fp], kernels: neondot, source: data sheet}\n"
    "memory: {gib: 2, usable: 0.5, source: measured}\n"
    "bandwidth: {gb_per_second: 10, reached: 0.6, source: computed}\n";

std::string with(const std::string& from, const std::string& to) {
  std::string text = kWhole;
  return text.replace(text.find(from), from.size(), to);
}

TEST(Device, EveryKeyIsRead) {
  const Device d = parse_device(kWhole, "folder/board.yaml");
  EXPECT_EQ(d.name, "board");
  EXPECT_EQ(d.title, "Board");
  EXPECT_EQ(d.architecture, "aarch64");
  EXPECT_EQ(d.threads, 4);
  EXPECT_THAT(d.features, testing::ElementsAre("asimddp", "fp"));
  EXPECT_EQ(d.kernels, "neondot");
  EXPECT_EQ(d.usable_bytes(), int64_t(1) << 30);
  EXPECT_EQ(d.bandwidth, 10e9);
  EXPECT_EQ(d.reached_bandwidth, 0.6);
  EXPECT_EQ(d.memory_source, "measured");
}

TEST(Device, TheFilesOfTheRepositoryAreRead) {
  int devices = 0;
  for (const auto& entry : std::filesystem::directory_iterator(EDGEQ_SOURCE_DIR "/configs/devices")) {
    const Device d = load_device(entry.path().string());
    EXPECT_THAT(d.kernels, testing::AnyOf("neondot", "avx2")) << d.name;
    ++devices;
  }
  EXPECT_EQ(devices, 3);
}

TEST(Device, AMistakeIsNamedWithItsLine) {
  const auto error = [](const std::string& yaml) { return error_of([&] { parse_device(yaml, "d.yaml"); }); };
  EXPECT_THAT(error(with("threads", "treads")),
              AllOf(StartsWith("device d.yaml:3: "), HasSubstr("did you mean threads?")));
  EXPECT_THAT(error(with("gib: 2", "gib: -1")), AllOf(StartsWith("device d.yaml:4: "), HasSubstr("\"-1\"")));
  EXPECT_THAT(error(with("gib: 2", "gib: .nan")), StartsWith("device d.yaml:4: "));
  EXPECT_THAT(error(with("usable: 0.5", "usable: 1.5")), HasSubstr("at most 1"));
  EXPECT_THAT(error(with("aarch64", "mips")), AllOf(StartsWith("device d.yaml:2: "), HasSubstr("mips")));
  EXPECT_THAT(error(with("neondot", "a b")), HasSubstr("one word"));
  EXPECT_THAT(error(with("[asimddp, fp]", "[\"$(rm)\"]")), HasSubstr("one word"));
  EXPECT_THAT(error(with("title: Board", "title: \"a\\nb\"")), HasSubstr("plain text"));
  EXPECT_THAT(error(with(", source: computed", "")),
              AllOf(StartsWith("device d.yaml:5: "), HasSubstr("source")));
  EXPECT_THAT(error(with("architecture: aarch64\n", "")), HasSubstr("lacks architecture"));
  EXPECT_THAT(error("- a\n"), HasSubstr("not a map"));
  EXPECT_THAT(error("a: [\n"), StartsWith("device d.yaml:"));
  EXPECT_THAT(error_of([] { load_device("/nowhere.yaml"); }), HasSubstr("/nowhere.yaml"));
}

TEST(Device, AModelThatDoesNotFitIsRefusedWithTheFigures) {
  const Device board = parse_device(kWhole, "board.yaml");  // 2 GiB, half of it usable: 1073.7 MB
  DeviceNeeds needs{
      .context = 2048, .file_bytes = 900'000'000, .kv_bytes = 133'000'000, .work_bytes = 40'000'000};
  EXPECT_NO_THROW(check_fits(board, needs, "m.packed"));
  needs.kv_bytes += 1'000'000;
  EXPECT_THAT(error_of([&] { check_fits(board, needs, "m.packed"); }),
              AllOf(StartsWith("m.packed needs 1.1 GB on board"),
                    HasSubstr("134.0 MB for the cache of 2048 tokens"), HasSubstr("50 % of its 2.1 GB")));
}

TEST(Device, TheManifestHoldsWhatTheScriptReadsOnLinesOfTheirOwn) {
  const std::string json = manifest_json({.device = parse_device(kWhole, "board.yaml"),
                                          .needs = {.context = 100},
                                          .bytes_per_token = 100'000'000,
                                          .prompt = "Once",
                                          .tokens = "1 2",
                                          .sha256 = {{"a", std::string(64, 'f')}}});
  for (const char* line : {"\n  \"features\": \"asimddp fp\",\n", "\n  \"tokens\": \"1 2\",\n",
                           "\n  \"threads\": 4,\n", "\n  \"decode_tokens_per_second_bound\": 100.0,\n",
                           "\n  \"decode_tokens_per_second_expected\": 60.0,\n"})
    EXPECT_THAT(json, HasSubstr(line));
  EXPECT_THAT(json, HasSubstr("\n    \"a\": \"" + std::string(64, 'f') + "\"\n"));
}

}  // namespace
}  // namespace edgeq
