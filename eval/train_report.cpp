// SPDX-License-Identifier: Apache-2.0
#include "eval/train_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"

namespace edgeq {

std::string train_json(const TrainReport& r, const std::string& output) {
  nlohmann::ordered_json j;
  if (!output.empty()) j["output"] = output;
  j["steps"] = r.steps;
  j["tokens"] = r.tokens;
  j["seconds"] = r.seconds;
  j["tokens_per_second"] = r.tokens_per_second();
  j["arithmetic"] = r.arithmetic;
  j["parameters"] = r.parameters;
  j["stopped"] = r.stopped;
  j["kept"] = r.kept;
  j["teacher_log_loss"] = r.teacher_log_loss;
  if (r.cache)
    j["teacher_cache"] = {{"form", r.cache->form},
                          {"bytes", r.cache->bytes},
                          {"bytes_per_token", r.cache->bytes_per_token},
                          {"computed", r.cache->computed},
                          {"seconds", r.cache->seconds}};
  for (const HeldoutLook& look : r.looks)
    j["heldout"].push_back(
        {{"step", look.step}, {"tokens", look.tokens}, {"kl", look.kl}, {"log_loss", look.log_loss}});
  j["terms"] = r.terms;
  j["losses"] = r.losses;
  return j.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

TrainReport parse_train_json(std::string_view text) {
  try {
    const auto j = nlohmann::json::parse(text);
    TrainReport r{.steps = j.at("steps"),
                  .tokens = j.at("tokens"),
                  .parameters = j.at("parameters"),
                  .terms = j.at("terms").get<std::vector<std::string>>(),
                  .losses = j.at("losses").get<std::vector<std::vector<float>>>(),
                  .looks = {},
                  .teacher_log_loss = j.at("teacher_log_loss"),
                  .kept = j.at("kept"),
                  .seconds = j.at("seconds"),
                  .stopped = j.at("stopped"),
                  .arithmetic = j.at("arithmetic"),
                  .cache = {}};
    if (const auto cache = j.find("teacher_cache"); cache != j.end())
      r.cache = {.form = cache->at("form"),
                 .bytes = cache->at("bytes"),
                 .bytes_per_token = cache->at("bytes_per_token"),
                 .computed = cache->at("computed"),
                 .seconds = cache->at("seconds")};
    for (const auto& look : j.value("heldout", nlohmann::json::array()))
      r.looks.push_back({.step = look.at("step"),
                         .tokens = look.at("tokens"),
                         .kl = look.at("kl"),
                         .log_loss = look.at("log_loss")});
    return r;
  } catch (const nlohmann::json::exception& error) {
    throw Error(fmt::format("no report of a training: {}", error.what()));
  }
}

double watched(const TrainReport& report, const HeldoutLook& look) {
  return report.teacher_log_loss > 0 ? look.kl : look.log_loss;
}

std::string train_summary(const TrainReport& report) {
  std::string text;
  if (report.looks.empty()) {
    text = "nothing was held out";
  } else {
    const HeldoutLook &start = report.looks.front(), &kept = report.looks[size_t(report.kept)];
    const std::string what = report.teacher_log_loss > 0 ? "KL" : "loss";
    text = report.kept == 0
               ? fmt::format("nothing better than the start on held-out text: {} {:.4f} stays", what,
                             watched(report, start))
               : fmt::format("held-out {} {:.4f} -> {:.4f} at step {} of {}", what, watched(report, start),
                             watched(report, kept), kept.step, report.steps);
    if (report.teacher_log_loss > 0)
      text += fmt::format(", loss {:.4f} -> {:.4f} (teacher {:.4f})", start.log_loss, kept.log_loss,
                          report.teacher_log_loss);
  }
  text += fmt::format(", {} tokens, {:.0f} tokens/s", report.tokens, report.tokens_per_second());
  if (report.cache)
    text += fmt::format(", teacher kept as {} in {:.1f} bytes a token", report.cache->form,
                        report.cache->bytes_per_token);
  if (!report.stopped.empty()) text += fmt::format("; stopped: {}", report.stopped);
  return text;
}

}  // namespace edgeq
