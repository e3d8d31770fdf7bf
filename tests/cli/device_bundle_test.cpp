// SPDX-License-Identifier: Apache-2.0
// A device bundle as a user makes and checks it. The script runs on this machine with the program of this
// build in place of a static one where that was not built, and through qemu for AArch64 where both exist.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/cli/binaries.h"

namespace edgeq {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

const std::string kDevices = EDGEQ_SOURCE_DIR "/configs/devices/";
const fs::path kBuilds = fs::path(kEdgeq).parent_path() / "../..";
const std::string kStaticRun = kBuilds / "device/bin/edgeq-run",
                  kArmRun = kBuilds / "device-arm64/bin/edgeq-run";

class DeviceBundle : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    files = new TempDir;
    ASSERT_EQ(edgeq("quantize int4-rtn --model " + kTiny + " -o " + packed()).code, 0);
  }
  static void TearDownTestSuite() {
    delete files;
    files = nullptr;
  }
  static std::string packed() { return files->file("tiny.packed"); }
  // A program that only looks static for the architecture: enough for whatever does not run it.
  std::string pretended_program(int machine) const {
    std::string elf(64, '\0');
    elf.replace(0, 7,
                "\x7f"
                "ELF\x02\x01\x01");
    elf[18] = char(machine);
    return dir_.write("program", elf);
  }
  std::string bundle() const { return dir_.file("bundle"); }
  Outcome make(const std::string& device, const std::string& program, const std::string& more = "") const {
    return edgeq("export --device " + device + " --edgeq-run " + program + " -o " + bundle() + " " + more +
                 " " + packed());
  }

  static inline TempDir* files = nullptr;
  const TempDir dir_;
};

TEST_F(DeviceBundle, HoldsTheFilesAndAManifestOfThem) {
  const Outcome made = make(kDevices + "rpi5.yaml", pretended_program(183));
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_EQ(read_text_file(bundle() + "/model.packed"), read_text_file(packed()));
  const auto m = nlohmann::json::parse(read_text_file(bundle() + "/manifest.json"));
  EXPECT_EQ(m["file_bytes"], fs::file_size(packed()));
  EXPECT_EQ(m["context"], 512);
  EXPECT_EQ(m["layout"], "r16k4");
  EXPECT_EQ(m["sha256"].size(), 3u);
  EXPECT_GT(m["decode_tokens_per_second_bound"], m["decode_tokens_per_second_expected"]);
  EXPECT_FALSE(m["tokens"].get<std::string>().empty());
  const Outcome sums = run("cd " + bundle() + " && sha256sum model.packed");
  EXPECT_THAT(sums.out, HasSubstr(m["sha256"]["model.packed"].get<std::string>()));
  EXPECT_FALSE(m.contains("perplexity")) << "nobody measured it";
  expect_error(make(kDevices + "rpi5.yaml", pretended_program(183)), "exists already");
}

TEST_F(DeviceBundle, PromisesThePerplexityThatTheModelHasThere) {
  const std::string text = kTiny + "/heldout.txt", rpi5 = kDevices + "rpi5.yaml";
  ASSERT_EQ(make(rpi5, pretended_program(183), "--text " + text).code, 0);
  const auto promised = [&] {
    return nlohmann::json::parse(read_text_file(bundle() + "/manifest.json")).at("perplexity").get<double>();
  };
  const Outcome there =
      run(kEdgeqRun + " eval " + bundle() + "/model.packed --windows 16 --json --text " + text);
  ASSERT_EQ(there.code, 0) << there.err;
  EXPECT_EQ(promised(), nlohmann::json::parse(there.out).at("perplexity").get<double>());
  // The report that quantize left says it too, unless the model was made anew since.
  const nlohmann::json report = {
      {"corpus", "text"},
      {"corpus_hash", "0"},
      {"context", 128},
      {"rows", {{{"file_bytes", fs::file_size(packed())}, {"perplexity", 7.5}, {"predictions", 9}}}}};
  std::ofstream(packed() + ".report.json") << report.dump();
  const Outcome again = make(rpi5, pretended_program(183), "--overwrite");
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(promised(), 7.5);
  fs::last_write_time(packed() + ".report.json", fs::last_write_time(packed()) - std::chrono::hours(1));
  ASSERT_EQ(make(rpi5, pretended_program(183), "--overwrite").code, 0);
  EXPECT_THAT(read_text_file(bundle() + "/manifest.json"), testing::Not(HasSubstr("perplexity")));
  fs::remove(packed() + ".report.json");
}

TEST_F(DeviceBundle, RefusesWhatWouldNotRunThere) {
  const std::string rpi5 = kDevices + "rpi5.yaml";
  expect_error(make(rpi5, pretended_program(62)), "another machine");
  expect_error(make(kDevices + "x86-laptop.yaml", kEdgeqRun), "shared libraries");
  const Outcome missing = make(rpi5, dir_.file("nowhere"));
  expect_error(missing, "missing");
  EXPECT_THAT(missing.err, HasSubstr("./dev build device-arm64"));
  const std::string small = dir_.write("small.yaml", [] {
    std::string yaml = read_text_file(kDevices + "rpi5.yaml");
    return yaml.replace(yaml.find("gib: 8"), 6, "gib: 0.05");
  }());
  expect_error(make(small, pretended_program(183)), "expected at most 37.6 MB, 70 % of its 53.7 MB");
  expect_error(make(rpi5, pretended_program(183), "--context 513"), "512");
  expect_error(edgeq("export --device " + rpi5 + " -o " + bundle() + " " + kTiny), "packed file");
  EXPECT_FALSE(fs::exists(bundle()));
  EXPECT_FALSE(fs::exists(bundle() + ".partial"));
}

TEST_F(DeviceBundle, TheScriptChecksAndRunsIt) {
  if (!fs::exists(kStaticRun)) GTEST_SKIP() << "no static edgeq-run: ./dev build device";
  ASSERT_EQ(make(kDevices + "x86-laptop.yaml", kStaticRun).code, 0);
  const Outcome checked = run("sh " + bundle() + "/check.sh");
  if (checked.err.find("lacks") != std::string::npos) GTEST_SKIP() << checked.err;
  ASSERT_EQ(checked.code, 0) << checked.out << checked.err;
  EXPECT_THAT(checked.out, AllOf(HasSubstr("checksums   hold"), HasSubstr("of the manifest"),
                                 HasSubstr("decode"), HasSubstr("peak resident")));
}

TEST_F(DeviceBundle, TheScriptRunsUnderAnEmulatorForArm) {
  if (run("command -v qemu-aarch64").code != 0) GTEST_SKIP() << "no qemu-aarch64: apt install qemu-user";
  if (!fs::exists(kArmRun)) GTEST_SKIP() << "no edgeq-run for ARM: ./dev build device-arm64";
  ASSERT_EQ(make(kDevices + "rpi5.yaml", kArmRun).code, 0);
  const Outcome checked = run("EDGEQ_EMULATOR='qemu-aarch64 -cpu max' sh " + bundle() + "/check.sh");
  ASSERT_EQ(checked.code, 0) << checked.out << checked.err;
  EXPECT_THAT(checked.out, AllOf(HasSubstr("emulated"), HasSubstr("of the manifest"), HasSubstr("neondot")));
  // A CPU without dot products cannot run the kernels that the manifest promises.
  const Outcome old = run("EDGEQ_EMULATOR='qemu-aarch64 -cpu cortex-a53' sh " + bundle() + "/check.sh");
  EXPECT_EQ(old.code, 1);
  EXPECT_THAT(old.err, HasSubstr("neondot"));
}

TEST_F(DeviceBundle, TheScriptNoticesADamagedFileAndOtherTokens) {
  ASSERT_EQ(make(kDevices + "rpi5.yaml", pretended_program(183)).code, 0);
  const std::string manifest = bundle() + "/manifest.json", script = "sh " + bundle() + "/check.sh";
  const Outcome elsewhere = run(script);
  EXPECT_EQ(elsewhere.code, 1);
  EXPECT_THAT(elsewhere.err,
              HasSubstr(run("uname -m").out == "aarch64\n" ? "edgeq-run failed" : "this machine is"));
  // This build's program in the place of the emulator: it runs, but the tokens are another model's.
  const std::string stand_in =
      dir_.write("emulator", "shift; unset EDGEQ_ISA; exec " + kEdgeqRun + " \"$@\"\n");
  const std::string emulated = "EDGEQ_EMULATOR='sh " + stand_in + "' " + script;
  EXPECT_EQ(run(emulated).code, 0) << run(emulated).err;
  std::string json = read_text_file(manifest);
  json.replace(json.find("\"tokens\": \"") + 11, 1, "9");
  std::ofstream(manifest) << json;
  const Outcome other = run(emulated);
  EXPECT_EQ(other.code, 1);
  EXPECT_THAT(other.err, HasSubstr("tokens differ"));
  std::ofstream(bundle() + "/model.packed", std::ios::app) << "x";
  const Outcome damaged = run(emulated);
  EXPECT_EQ(damaged.code, 1);
  EXPECT_THAT(damaged.err, HasSubstr("model.packed"));
}

TEST_F(DeviceBundle, TheScriptGoesToAPhoneThroughAdb) {
  ASSERT_EQ(make(kDevices + "rpi5.yaml", pretended_program(183)).code, 0);
  // An adb that writes down what it is asked.
  fs::create_directory(dir_.file("bin"));
  dir_.write("bin/adb", "#!/bin/sh\necho \"$ANDROID_SERIAL: $*\"\n");
  fs::permissions(dir_.file("bin/adb"), fs::perms(0755));
  const Outcome pushed =
      run("PATH=" + dir_.file("bin") + ":$PATH sh " + bundle() + "/check.sh --adb serial7");
  EXPECT_EQ(pushed.code, 0) << pushed.err;
  EXPECT_EQ(pushed.out,
            "serial7: shell rm -rf /data/local/tmp/edgeq && mkdir -p /data/local/tmp/edgeq\n"
            "serial7: push manifest.json model.packed edgeq-run check.sh /data/local/tmp/edgeq/\n"
            "serial7: shell cd /data/local/tmp/edgeq && sh check.sh\n");
  EXPECT_EQ(run("sh " + bundle() + "/check.sh --usb").code, 2);
}

}  // namespace
}  // namespace edgeq
