// SPDX-License-Identifier: Apache-2.0
// The engine as a module, loaded by a program that does not link LibTorch.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/torch_engine.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "tests/support/golden_logits.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::HasSubstr;
using testing::Not;

// In one test, since loading cannot be undone.
TEST(TorchModule, IsLoadedWhenAskedForAndSharesTheCore) {
  EXPECT_THAT(read_text_file("/proc/self/maps"), Not(HasSubstr("libtorch")));
  const TorchModule& module = torch_module();
  EXPECT_THAT(read_text_file("/proc/self/maps"), HasSubstr("libtorch"));
  EXPECT_EQ(&module, &torch_module());

  const GoldenLogits golden = read_golden("llama");
  const auto model = module.open_model(*open_checkpoint(golden.folder));
  const auto session = model->start({});
  EXPECT_LE(relative_difference(session->feed(golden.tokens, Logits::all), golden.logits.matrix()),
            kLogitTolerance);
  session->truncate(0);

  // An Error thrown in the module is an Error here; a flag raised here is seen there.
  EXPECT_THROW(session->feed(std::vector<TokenId>{1000}, Logits::all), Error);
  request_interrupt();
  EXPECT_THROW(session->feed(golden.tokens, Logits::all), Interrupted);
  clear_interrupt();
  EXPECT_NO_THROW(session->feed(golden.tokens, Logits::all));

  const auto walk = module.open_blockwise(open_checkpoint(golden.folder));
  const Ends ends = walk->ends();
  EXPECT_EQ(walk->begin(golden.tokens, ends).hidden.rows(), std::ssize(golden.tokens));
}

TEST(TorchModule, WithoutItTheMessageSaysHowToGetIt) {
  const TempDir empty;
  const std::string folders[] = {empty.path().string(), "/nonexistent"};
  try {
    load_torch_module(folders);
    FAIL() << "expected an Error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("no libedgeq_torch.so in " + folders[0] + " or /nonexistent"));
    EXPECT_THAT(error.hint(), HasSubstr("EDGEQ_TORCH=OFF"));
  }
}

TEST(TorchModule, AFileThatIsNoModuleIsAnError) {
  const TempDir folder;
  folder.write(kTorchModuleFile, "not a library");
  const std::string folders[] = {folder.path().string()};
  EXPECT_THROW(load_torch_module(folders), Error);
}

}  // namespace
}  // namespace edgeq
