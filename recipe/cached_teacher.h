// SPDX-License-Identifier: Apache-2.0
// A teacher that speaks once: its distributions over the training sequences are computed before the training
// and read at every step (distill/teacher_cache.h). What an earlier run has computed is not computed again.
#pragma once

#include <string>

#include "core/progress.h"
#include "distill/sequences.h"
#include "distill/teacher_cache.h"
#include "distill/trainer.h"
#include "eval/train_report.h"

namespace edgeq {

using TeachFunction = void (*)(const TeachInputs&, const Progress&);

struct CacheJob {
  TeacherForm form;
  FloatModel& teacher;
  std::string teacher_hash;
  Arithmetic arithmetic = Arithmetic::f32;
  int64_t common_vocab = 0;
  const std::vector<Sequence>& sequences;
  std::string folder;  // made here
  TeachFunction teach;
};

struct CachedTeacher {
  TeacherCache cache;
  TeacherCacheReport report;
};

// Throws Error for a folder whose cache is of something else (TeacherCacheWriter); Interrupted, after which
// the next call goes on behind the last whole file.
CachedTeacher cache_teacher(const CacheJob& job, const Progress& progress);

}  // namespace edgeq
