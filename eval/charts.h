// SPDX-License-Identifier: Apache-2.0
// The pictures of the report as inline SVG text, without scripts. Colours come from CSS variables of the page
// (report_html.cpp), so that they follow light and dark mode; series i uses --series-i.
#pragma once

#include <string>
#include <vector>

#include "eval/report.h"

namespace edgeq {

// Size against quality: one dot a model, file bytes across, mean KL divergence up (logarithmic).
std::string size_quality_chart(const Report& report);
// How the divergence is distributed over predictions: one curve a model over logarithmic KL.
std::string divergence_chart(const Report& report);
// Relative error of every site: kinds of sites down, layers across, darker is worse (logarithmic).
std::string site_error_chart(const ReportRow& row);

// The best choice at every size: bytes of the weights across, predicted KL up (logarithmic), with the choice
// that was made and the sizes where all sites take one form.
std::string budget_chart(const BudgetReport& budget);

// A training: KL of each step's windows as dots, of those held out as a line, the kept point marked.
std::string tune_chart(const TuneReport& report);
// The same of the first loss of a training and the watched figure, and of each other loss.
std::string train_chart(const TrainReport& report);
std::string term_chart(const TrainReport& report, size_t term);

std::string escape_html(std::string_view text);

}  // namespace edgeq
