// SPDX-License-Identifier: Apache-2.0
#include "eval/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "eval/charts.h"
#include "eval/json.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

Report sample_report() {
  Report report;
  report.title = "INT4 <GPTQ>";
  report.model = "tiny & small";
  report.corpus = "heldout.txt";
  report.prompt = "She \"was\"";
  report.continuation = " not <b>\xe2\x82";  // ends inside a character
  ReportRow floats{.name = "float", .file = "model"};
  floats.file_bytes = 2900000;
  floats.bits_per_weight = 16;
  floats.quality.perplexity = 20;
  ReportRow packed{.name = "INT4 <GPTQ>", .file = "model.packed"};
  packed.file_bytes = 1000000;
  packed.quality = {
      .windows = 3, .window_tokens = 512, .predictions = 765, .perplexity = 20.5, .perplexity_all = 25};
  packed.quality.divergence =
      Divergence{.kl_mean = 0.0123, .kl_p99 = 0.5, .top1_agreement = 0.912, .kl = {0, 0.01f, 0.02f, 20}};
  packed.latency = Latency{
      .prompt_tokens = 64, .tokens = 16, .prefill_tokens_per_second = 1000, .decode_tokens_per_second = 100};
  packed.peak_rss_bytes = 12000000;
  packed.sites = {{.name = "embedding", .scheme = "int8-g32-sym", .method = "rtn", .relative_error = 1e-5},
                  {.name = "layers.0.attn.q_proj",
                   .scheme = "int4-g64-sym",
                   .method = "gptq",
                   .relative_error = 0.01,
                   .calibrated = true},
                  {.name = "layers.1.attn.q_proj",
                   .scheme = "int4-g64-sym",
                   .method = "gptq",
                   .relative_error = 0.02,
                   .calibrated = true}};
  report.rows = {floats, packed};
  return report;
}

TEST(Report, JsonHoldsEveryFigureUnderItsKey) {
  const auto j = nlohmann::json::parse(report_json(sample_report()));
  const auto& row = j.at("rows").at(1);
  EXPECT_EQ(row.at("perplexity"), 20.5);
  EXPECT_EQ(row.at("perplexity_all"), 25);
  EXPECT_EQ(row.at("kl_mean"), 0.0123);
  EXPECT_EQ(row.at("kl_p99"), 0.5);
  EXPECT_EQ(row.at("top1_agreement"), 0.912);
  EXPECT_EQ(row.at("file_bytes"), 1000000);
  EXPECT_EQ(row.at("decode_tokens_per_second"), 100);
  EXPECT_EQ(row.at("peak_rss_bytes"), 12000000);
  EXPECT_EQ(row.at("sites").size(), 3u);
  EXPECT_FALSE(j.at("rows").at(0).contains("kl_mean"));
}

TEST(Report, TableIsAlignedAndMarkdownIsATable) {
  const std::string table = report_table(sample_report());
  const std::string header = table.substr(0, table.find('\n'));
  EXPECT_THAT(table, AllOf(HasSubstr("0.01230"), HasSubstr("91.20 %"), HasSubstr("12.0 MB")));
  for (size_t begin = 0, end; (end = table.find('\n', begin)) != std::string::npos; begin = end + 1)
    EXPECT_EQ(end - begin, header.size());
  EXPECT_THAT(report_markdown(sample_report()),
              AllOf(HasSubstr("| model | perplexity |"), HasSubstr("| --- | ---: |")));
}

TEST(Report, ColumnsAndLinesAppearWithWhatTheyShow) {
  Report report = sample_report();
  EXPECT_THAT(report_table(report), Not(HasSubstr("KL calibration")));
  EXPECT_EQ(report_warning(report), "");
  report.calibrated_share = 0.125;
  report.rows[1].calibration_kl = 0.009;
  report.rows[1].sites[1].last_quarter_change = 0.02;
  report.rows[1].sites[2].last_quarter_change = 0.07;
  for (ReportRow& row : report.rows)
    row.tasks = {{.name = "arc", .right = {true, false}, .accuracy_norm = 0.5, .standard_error_norm = 0.354}};
  EXPECT_THAT(report_table(report), AllOf(HasSubstr("KL calibration"), HasSubstr("0.00900"),
                                          HasSubstr("arc %"), HasSubstr("50.0 +- 35.4")));
  EXPECT_THAT(report_warning(report), HasSubstr("12.5 % of the scored text was also calibrated on"));
  EXPECT_THAT(report_markdown(report),
              AllOf(HasSubstr("Warning: 12.5 %"), HasSubstr("7.0 % at layers.1.attn.q_proj"),
                    HasSubstr("Tasks: arc (2 items")));
  const auto row = nlohmann::json::parse(report_json(report)).at("rows").at(1);
  EXPECT_EQ(row.at("tasks").at(0).at("accuracy_norm"), 0.5);
  EXPECT_EQ(row.at("calibration_kl_mean"), 0.009);
}

TEST(Report, HtmlIsSelfContainedAndEscapesWhatItShows) {
  const std::string html = report_html(sample_report());
  EXPECT_THAT(html, AllOf(HasSubstr("INT4 &lt;GPTQ&gt;"), HasSubstr("tiny &amp; small"),
                          HasSubstr("not &lt;b&gt;"), HasSubstr("<svg")));
  EXPECT_THAT(html, AllOf(Not(HasSubstr("http://")), Not(HasSubstr("https://")), Not(HasSubstr("<script")),
                          Not(HasSubstr("nan")), Not(HasSubstr("inf\""))));
}

TEST(Report, ChartsSurviveAReportWithNothingToShow) {
  Report report = sample_report();
  report.rows.resize(1);
  EXPECT_EQ(size_quality_chart(report), "");
  EXPECT_EQ(site_error_chart(report.rows[0]), "");
  EXPECT_THAT(divergence_chart(report), HasSubstr("</svg>"));
}

TEST(Json, CalibrationHashesAreReadFromAProvenance) {
  EXPECT_THAT(
      calibration_hashes(R"({"calibration": {"texts": [{"corpus_hash": "a"}, {"corpus_hash": "b"}]}})"),
      testing::ElementsAre("a", "b"));
  for (const char* other :
       {"", "[]", "{}", R"({"calibration": 3})", R"({"calibration": {"texts": {"x": 1}}})",
        R"({"calibration": {"texts": [1, {"corpus_hash": 2}]}})"})
    EXPECT_TRUE(calibration_hashes(other).empty()) << other;
}

TEST(Json, LatencySurvivesTheWayThroughAProcess) {
  const Latency l{.prompt_tokens = 5,
                  .tokens = 6,
                  .prefill_tokens_per_second = 7.25,
                  .decode_tokens_per_second = 8.5,
                  .threads = 2};
  const ModelFacts facts{
      .model = "m.packed", .isa = "avx2", .file_bytes = 9, .bits_per_weight = 4.25, .peak_rss_bytes = 10};
  const MeasuredLatency back = parse_latency_json(latency_json(l, facts));
  EXPECT_EQ(back.latency.prefill_tokens_per_second, 7.25);
  EXPECT_EQ(back.latency.tokens, 6);
  EXPECT_EQ(back.facts.isa, "avx2");
  EXPECT_EQ(back.facts.peak_rss_bytes, 10);
  EXPECT_THROW(parse_latency_json("oops"), Error);
  EXPECT_THROW(parse_latency_json("{}"), Error);
}

BudgetReport sample_budget() {
  BudgetReport budget{.budget = "5.0 MB", .budget_bytes = 4000000, .bytes = 3900000, .kl = 0.02};
  budget.curve = {{2000000, 0.5}, {3000000, 0.05}, {4500000, 0.01}, {6000000, 0.001}};
  budget.uniform = {{"int3 <s8>", {2000000, 0.5}}, {"int8-g32-sym", {6000000, 0.001}}};
  SiteChoice& first = budget.sites.emplace_back();
  first.site = "layers.0.attn.q_proj";
  first.chosen = {"int4-g32-s8", 500000, 0.004};
  first.smaller = {"int3-g32-s8", 400000, 0.016};
  SiteChoice& second = budget.sites.emplace_back();
  second.site = "layers.1.attn.q_proj";
  second.chosen = {"int4-g32-s8", 500000, 0.002};
  second.larger = {"int8-g32-sym", 900000, 0.0};
  return budget;
}

TEST(BudgetReport, ThePriceIsTheSlopeOfTheCurveAtTheBudget) {
  BudgetReport budget = sample_budget();
  EXPECT_DOUBLE_EQ(budget_price(budget), 0.04 / 1500000);
  budget.budget_bytes = 9000000;
  EXPECT_EQ(budget_price(budget), 0);
}

TEST(BudgetReport, StandsInEveryFormOfTheReport) {
  Report report = sample_report();
  report.rows.back().budget = sample_budget();
  const auto j = nlohmann::json::parse(report_json(report)).at("rows").at(1).at("budget");
  EXPECT_EQ(j.at("predicted_kl"), 0.02);
  EXPECT_EQ(j.at("curve").size(), 4u);
  EXPECT_EQ(j.at("sites").at(0).at("smaller").at("scheme"), "int3-g32-s8");
  EXPECT_FALSE(j.at("sites").at(0).contains("larger"));
  EXPECT_THAT(report_markdown(report),
              AllOf(HasSubstr("predicted KL 0.0200; a MB more would save 0.027"),
                    HasSubstr("| layers.0.attn.q_proj | int4-g32-s8 | 500.0 kB | 0.004 | int3-g32-s8 (-0.100 "
                              "MB) | +0.012 (0.12 a MB) | - | - |")));
  const std::string html = report_html(report);
  EXPECT_THAT(html, AllOf(HasSubstr("What a budget chose"), HasSubstr("chosen"), HasSubstr("int3 &lt;s8&gt;"),
                          Not(HasSubstr("int3 <s8>"))));
  EXPECT_THAT(report_html(sample_report()), Not(HasSubstr("What a budget chose")));
}

}  // namespace
}  // namespace edgeq
