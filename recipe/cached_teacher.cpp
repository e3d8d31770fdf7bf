// SPDX-License-Identifier: Apache-2.0
#include "recipe/cached_teacher.h"

#include <fmt/format.h>

#include "core/timer.h"
#include "core/version.h"

namespace edgeq {

CachedTeacher cache_teacher(const CacheJob& job, const Progress& progress) {
  const Timer timer;
  const TeacherKey key{.teacher = fmt::format("{} in {}", job.teacher_hash,
                                              job.arithmetic == Arithmetic::bf16 ? "bf16" : "f32"),
                       .sequences = sequences_hash(job.sequences),
                       .count = std::ssize(job.sequences),
                       .vocab = job.common_vocab,
                       .form = job.form,
                       .tool_version = std::string(version())};
  check_form(job.form, job.common_vocab);
  TeacherCacheWriter writer(job.folder, key);
  const int64_t there = writer.done();
  if (there < key.count)
    job.teach({.teacher = job.teacher,
               .common_vocab = job.common_vocab,
               .arithmetic = job.arithmetic,
               .sequences = job.sequences,
               .first = there,
               .take = [&](MatrixView<const float> log_probs) { writer.add(log_probs); }},
              progress);
  TeacherCache cache(job.folder, key);
  const int64_t bytes = cache.bytes();
  return {.cache = std::move(cache),
          .report = {.form = form_text(job.form),
                     .bytes = bytes,
                     .bytes_per_token = double(bytes) / double(token_count(job.sequences)),
                     .computed = key.count - there,
                     .seconds = timer.seconds()}};
}

}  // namespace edgeq
