// SPDX-License-Identifier: MIT
// A trigger's watch of the recorder that runs, look by look.
#ifndef CONTRAIL_TESTS_LOOKER_HPP
#define CONTRAIL_TESTS_LOOKER_HPP

#include "support/recorder.hpp"

#include <contrail/detail/watch.hpp>

#include <ctime>
#include <memory>

inline constexpr uint64_t an_hour = 3'600'000'000'000;

/// A watch of the recorder that runs, with one condition or more.
struct CONTRAIL_DETAIL_HIDDEN looker {
  std::unique_ptr<contrail::detail::watch> watch = std::make_unique<contrail::detail::watch>();
  contrail::detail::trigger_note note;

  looker& add(contrail::detail::condition_kind kind, const char* names, uint64_t ns, double limit = 0,
              bool (*holds)(void*) = nullptr) {
    contrail::detail::condition& added = watch->conditions.items[watch->conditions.count++];
    added = {kind, {}, ns, limit, holds, nullptr, false};
    std::snprintf(added.names, sizeof added.names, "%s", names);
    return *this;
  }
  bool look() { return watch->look(*contrail::detail::joined_process(), note); }
  /// How often conditions came to hold since the last look.
  uint64_t fired() {
    const uint64_t before = watch->fired;
    look();
    return watch->fired - before;
  }
  std::string text() const { return note.text; }
};

inline looker latency(const char* names, uint64_t budget_ns) {
  looker made;
  made.add(contrail::detail::condition_kind::latency, names, budget_ns);
  return made;
}

inline void spin(uint64_t ns) {
  const uint64_t begin = contrail::detail::kernel_clock_ns(CLOCK_MONOTONIC);
  while (contrail::detail::kernel_clock_ns(CLOCK_MONOTONIC) - begin < ns) {
  }
}

#endif
