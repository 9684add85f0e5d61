// SPDX-License-Identifier: MIT
// What of a chunk had ended before a session began: told from its words.
#include "catch.hpp"

#include <contrail/contrail.hpp>
#include <contrail/detail/session_marks.hpp>

#include <vector>

using namespace contrail::detail;

namespace {

constexpr uint64_t base = 7 * epoch_ticks;

uint64_t ended_before(const std::vector<uint64_t>& words, uint64_t ticks) {
  const auto* const at = reinterpret_cast<const atomic_word*>(words.data());
  return records_ended_before(base, at, at + words.size(), ticks);
}

/// Short forms that end `time` ticks after the epoch began.
uint64_t region(uint64_t time) { return time << end_time_shift | 1 << id_shift | 1; }
uint64_t point(uint64_t time) { return time << end_time_shift | 1 << id_shift; }

}  // namespace

TEST_CASE("records that had ended before a moment are counted, in any form, and bookkeeping is not") {
  const std::vector<uint64_t> words = {
      long_header(long_form::current_task, 0, 2), base + 1, 5,                          // no record
      region(10),                                                                       // 1
      point(20),                                                                        // 2
      long_header(long_form::anchor, 0, 4), base + 21, 1, 1, 1,                         // no record
      long_header(long_form::region, 1, 2), base + 5, base + 30,                        // 3
      long_header(long_form::async_region, 1, 3), base + 6, base + 40, 99,              // 4
      long_header(long_form::span, 1, 9), base + 50, base + 2, 1, 0, 9, 0, 0, 0, 0,     // 5, begun at 2
      long_header(long_form::current_task, 0, 2), base + 51, 0,                         // no record
      long_header(long_form::point, 1, 1), base + 60,                                   // 6
      epoch_word(base + epoch_ticks), region(5)};                                       // 7
  const uint64_t ends[] = {10, 20, 30, 40, 50, 60, epoch_ticks + 5};
  for (uint64_t i = 0; i < 7; ++i) {
    INFO(i);
    CHECK(ended_before(words, base + ends[i]) == i);
    CHECK(ended_before(words, base + ends[i] + 1) == i + 1);
  }
}
