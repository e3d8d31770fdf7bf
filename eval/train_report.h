// SPDX-License-Identifier: Apache-2.0
// What a training did, step by step and on text that it never saw. Losses are means over predicted tokens, in
// nats.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace edgeq {

// The student on held-out sequences.
struct HeldoutLook {
  int64_t step = 0, tokens = 0;  // gone through until then
  double kl = 0;                 // from the teacher, at temperature 1; 0 where there is none
  double log_loss = 0;           // of the student; its perplexity is e to this
};

// A teacher whose predictions were kept on disk.
struct TeacherCacheReport {
  std::string form;  // "top_k 64"
  int64_t bytes = 0;
  double bytes_per_token = 0;  // of the training sequences
  int64_t computed = 0;        // sequences of this run; the others were there
  double seconds = 0;          // what that took
};

struct TrainReport {
  int64_t steps = 0, tokens = 0;           // planned; done
  int64_t parameters = 0;                  // that are trained
  std::vector<std::string> terms;          // names of the losses
  std::vector<std::vector<float>> losses;  // [term][step], before weights
  std::vector<HeldoutLook> looks;          // the first before any step; empty where nothing is held out
  double teacher_log_loss = 0;             // on the same text; 0: no teacher
  int64_t kept = 0;                        // index into `looks`; 0: nothing was better than the start
  double seconds = 0;                      // of steps, over all runs of a training that was resumed
  std::string stopped;                     // why before the last step, "" when it went through
  std::string arithmetic;                  // "f32", "bf16"

  std::optional<TeacherCacheReport> cache;  // none: the teacher ran at every step

  double tokens_per_second() const { return seconds > 0 ? double(tokens) / seconds : 0; }
};

// The figure that is watched on held-out text: KL where there is a teacher, else the loss.
double watched(const TrainReport& report, const HeldoutLook& look);

// All of it as a JSON object, the looks as "heldout"; and back, which throws Error for another.
std::string train_json(const TrainReport& report, const std::string& output = "");
TrainReport parse_train_json(std::string_view text);

// What a page about a training says besides it.
struct TrainPage {
  std::string title, data, teacher;  // teacher: its name, "" = none
  std::string machine, version, date;
};
// A self-contained HTML page with the curves.
std::string train_page(const TrainReport& report, const TrainPage& about);

// "held-out KL 0.532 -> 0.104 at step 120 of 120, 61440 tokens, 412 tokens/s"
std::string train_summary(const TrainReport& report);

}  // namespace edgeq
