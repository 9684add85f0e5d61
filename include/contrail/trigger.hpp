// SPDX-License-Identifier: MIT
// Opt-in: dumps by themselves when something is wrong: a region over its budget, a thread that hangs, a counter over a
// limit, or whatever the program says.
//
//   contrail::trigger watchdog({.path = "slow-%p-%n.contrail", .last = 5s, .after = 200ms});
//   watchdog.latency("request", 50ms);
//   watchdog.stall(2s);
//   if (auto failed = watchdog.start()) puts(failed.message());
//
// A thread of the trigger reads the recorder's memory as a dump does; call sites know nothing of it and cost the same.
#ifndef CONTRAIL_TRIGGER_HPP
#define CONTRAIL_TRIGGER_HPP

#include "contrail/contrail.hpp"

#if CONTRAIL_DETAIL_ENABLED && defined(CONTRAIL_MACROS_ONLY)
#error "contrail/trigger.hpp needs all of contrail: leave out CONTRAIL_MACROS_ONLY in this translation unit."
#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// Options of a trigger.
struct trigger_options {
  /// Where its dumps go; with %n, %t or %p in it, each has a name of its own. The string is copied.
  const char* path = "trigger-%p-%n.contrail";
  /// How far back from the moment of firing a dump reaches; 0: as far as `options::window` says.
  duration last{};
  /// How long it goes on recording before it dumps; the dump reaches that much further.
  duration after{};
  /// Less than this after a dump no other one is made, only counted.
  duration at_most_every{10'000'000'000};
  /// How many dumps stay: the newest, of all triggers and processes of this executable with this path. 0: all.
  unsigned keep = 8;
  /// How many bytes they may have together; the newest stays in any case. 0: any.
  uint64_t keep_bytes = 0;
  /// How often it looks; what it finds is later by that at most.
  duration look_every{100'000'000};
};

/// What a trigger has done.
struct trigger_status {
  uint64_t fired = 0;       ///< conditions that came to hold, and calls of `fire`
  uint64_t dumps = 0;       ///< that were written
  uint64_t suppressed = 0;  ///< firings without a dump of their own, by `at_most_every` or since one was on its way
  uint64_t failed = 0;      ///< dumps that could not be written
  error last_failure;       ///< why
  uint64_t missed_records = 0;  ///< overwritten before a look at them, where one may have been over its limit. Exact
};

CONTRAIL_DETAIL_NAMESPACE_END

#if CONTRAIL_DETAIL_ENABLED

#include "contrail/detail/kept_dumps.hpp"
#include "contrail/detail/watch.hpp"

#include <pthread.h>
#include <time.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

class mutex_hold {
 public:
  explicit mutex_hold(pthread_mutex_t& mutex) : mutex_(mutex) { pthread_mutex_lock(&mutex_); }
  ~mutex_hold() { pthread_mutex_unlock(&mutex_); }
  mutex_hold(const mutex_hold&) = delete;
  mutex_hold& operator=(const mutex_hold&) = delete;

 private:
  pthread_mutex_t& mutex_;
};

}  // namespace detail

/// Watches for conditions, and dumps when one comes to hold. One thread sets it up: conditions first, then `start`.
/// Works whether a recorder runs already or is started later. Not in a forked child.
class CONTRAIL_DETAIL_HIDDEN trigger {
 public:
  explicit trigger(const trigger_options& wanted = {}) : wanted_(wanted) {
    const bool fits = wanted.path != nullptr && detail::strlen(wanted.path) < sizeof path_;
    detail::text_writer(path_, sizeof path_).add(fits ? wanted.path : "");
  }
  ~trigger() { stop(); }
  trigger(const trigger&) = delete;
  trigger& operator=(const trigger&) = delete;

  /// Fires when a region takes longer than `budget`: as it ends, or while it is open, whichever is seen first.
  /// `regions` are globs of names as in a filter: "request*,-request.slow".
  error latency(const char* regions, duration budget) {
    if (budget.ns <= 0) return {error_code::bad_option, "The budget of a region must be above 0."};
    return add({detail::condition_kind::latency, {}, static_cast<uint64_t>(budget.ns), 0, nullptr, nullptr, false},
               regions);
  }

  /// Fires when a thread has ended no region for `quiet` while one is open; once each time. `regions` are globs of the
  /// innermost open region's name, to leave out where a thread may wait: "-idle*".
  error stall(duration quiet, const char* regions = "") {
    if (quiet.ns <= 0) return {error_code::bad_option, "The time after which a thread has stalled must be above 0."};
    return add({detail::condition_kind::stall, {}, static_cast<uint64_t>(quiet.ns), 0, nullptr, nullptr, false},
               regions);
  }

  /// Fires when a counter's value is above `limit` and the one before was not. `counters` are globs of names.
  error counter(const char* counters, double limit) {
    return add({detail::condition_kind::counter, {}, 0, limit, nullptr, nullptr, false}, counters);
  }

  /// Fires when `holds(context)` answers true and did not the time before. It is asked at each look, by the trigger's
  /// thread, and neither throws nor stops its trigger.
  error predicate(const char* name, bool (*holds)(void* context), void* context = nullptr) {
    if (holds == nullptr) return {error_code::bad_option, "The predicate is null."};
    return add({detail::condition_kind::predicate, {}, 0, 0, holds, context, false}, name);
  }

  /// Begins to watch. Fails with bad_option, path, already_running, or out_of_memory where the system gives no thread.
  error start() {
    using namespace detail;
    if (is_started_) return {error_code::already_running, "This trigger is started already."};
    if (wanted_.last.ns < 0 || wanted_.after.ns < 0 || wanted_.at_most_every.ns < 0 || wanted_.look_every.ns <= 0) {
      return {error_code::bad_option, "The times in trigger_options must not be negative, and look_every not 0."};
    }
    char ignored[longest_path_bytes];
    if (error failed = expand_path(path_, {1, 1, 1, "e"}, ignored)) return failed;
    if (join_process() == nullptr) return incompatible();
    link_object();
    pin_object(reinterpret_cast<const void*>(&count_recycled));
    __atomic_store_n(&stopping_, 0U, __ATOMIC_RELAXED);
    // Signals are the program's threads' business.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(
        &thread_, nullptr,
        [](void* self) -> void* {
          static_cast<trigger*>(self)->run();
          return nullptr;
        },
        this);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (failed != 0)
      return {error_code::out_of_memory, "The system gave no thread for the trigger: free some, and try again."};
    is_started_ = true;
    owner_ = getpid();
    return {};
  }

  /// Ends watching. A dump that is on its way is written now. Harmless when it is not started.
  void stop() {
    if (!is_started_) return;
    is_started_ = false;
    if (getpid() != owner_) return;  // the thread stayed in the parent
    __atomic_store_n(&stopping_, 1U, __ATOMIC_RELEASE);
    wake();
    pthread_join(thread_, nullptr);
  }

  /// Fires now, as by a condition. `what` is not copied: a string literal. The dump is made by the trigger's thread.
  // Async-signal-safe.
  void fire(const char* what) {
    const detail::process_state* const process = detail::joined_process();
    __atomic_store_n(&called_ticks_, process == nullptr ? 0 : detail::now_ticks(*process), __ATOMIC_RELAXED);
    __atomic_fetch_add(&calls_, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&called_, what, __ATOMIC_RELEASE);
    wake();
  }

  trigger_status status() const {
    const detail::mutex_hold hold(mutex_);
    return status_;
  }

 private:
  error add(const detail::condition& what, const char* names) {
    if (is_started_) return {error_code::bad_option, "This trigger is started already: add conditions before."};
    if (watch_.conditions.count == detail::most_conditions) {
      return {error_code::bad_option, "A trigger takes 15 conditions: use another one for more."};
    }
    if (names == nullptr || detail::strlen(names) >= detail::filter_bytes) {
      return {error_code::bad_option, "The names of a trigger's condition are missing, or longer than 255 bytes."};
    }
    detail::condition& added = watch_.conditions.items[watch_.conditions.count];
    added = what;
    detail::text_writer(added.names, sizeof added.names).add(names);
    ++watch_.conditions.count;
    return {};
  }

  // Not a semaphore or a condition: those may not be used in signal handlers, or wait by a clock that can be set.
  void wake() {
    const detail::errno_keeper keep;
    __atomic_fetch_add(&wakes_, 1U, __ATOMIC_RELEASE);
    constexpr int wake_private = 1 | 128;
    syscall(SYS_futex, &wakes_, wake_private, 1, nullptr, nullptr, 0);
  }
  void wait(uint32_t wakes, uint64_t ns) {
    const timespec time{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
    constexpr int wait_private = 0 | 128;
    syscall(SYS_futex, &wakes_, wait_private, wakes, &time, nullptr, 0);
  }

  static uint64_t now_ns() { return detail::kernel_clock_ns(CLOCK_MONOTONIC); }

  void run() {
    pthread_setname_np(pthread_self(), "contrail");
    for (;;) {
      const uint32_t wakes = __atomic_load_n(&wakes_, __ATOMIC_ACQUIRE);
      const bool last_round = __atomic_load_n(&stopping_, __ATOMIC_ACQUIRE) != 0;
      look();
      const uint64_t now = now_ns();
      if (is_pending_ && (now >= due_ns_ || last_round)) dump(last_round);
      if (last_round) return watch_.leave();
      uint64_t pause = static_cast<uint64_t>(wanted_.look_every.ns);
      if (is_pending_ && due_ns_ - now < pause) pause = due_ns_ > now ? due_ns_ - now : 1;
      wait(wakes, pause);
    }
  }

  void look() {
    detail::process_state& process = *detail::joined_process();
    detail::trigger_note found;
    uint64_t times = watch_.fired;
    watch_.look(process, found);
    times = watch_.fired - times;
    const uint64_t missed = watch_.missed();
    if (const char* const what = __atomic_exchange_n(&called_, static_cast<const char*>(nullptr), __ATOMIC_ACQUIRE)) {
      times += __atomic_exchange_n(&calls_, uint64_t{0}, __ATOMIC_RELAXED);
      if (found.ticks == 0) {
        found.ticks = __atomic_load_n(&called_ticks_, __ATOMIC_RELAXED);
        detail::text_writer(found.text, sizeof found.text).add(what);
      }
    }
    const detail::mutex_hold hold(mutex_);
    status_.missed_records = missed;
    if (times == 0) return;
    const uint64_t now = now_ns();
    const bool is_soon = has_dumped_ && now - dumped_ns_ < static_cast<uint64_t>(wanted_.at_most_every.ns);
    const bool begins = !is_pending_ && !is_soon;
    if (begins) {
      note_ = found;
      if (missed != 0) {
        const size_t used = detail::strlen(note_.text);
        snprintf(note_.text + used, sizeof note_.text - used, "; missed %llu records",
                 static_cast<unsigned long long>(missed));
      }
      is_pending_ = true;
      tries_ = 0;
      fired_ns_ = now;
      due_ns_ = now + static_cast<uint64_t>(wanted_.after.ns);
    }
    status_.fired += times;
    status_.suppressed += times - (begins ? 1 : 0);
  }

  void dump(bool last_round) {
    duration last = wanted_.last;
    // From the moment of firing, which a look found somewhat later.
    const uint64_t reach =
        static_cast<uint64_t>(last.ns) + (now_ns() - fired_ns_) + static_cast<uint64_t>(wanted_.look_every.ns);
    if (last.ns != 0)
      last.ns = reach < static_cast<uint64_t>(__INT64_MAX__) ? static_cast<int64_t>(reach) : __INT64_MAX__;
    char made[detail::longest_path_bytes];
    const error failed = detail::dump_to_path(path_, last, 0, nullptr, &note_, made);
    constexpr unsigned most_tries = 100;
    if (failed.code() == error_code::busy && !last_round && ++tries_ < most_tries) {
      due_ns_ = now_ns() + 10'000'000;  // somebody else dumps
      return;
    }
    is_pending_ = false;
    if (!failed) {
      has_dumped_ = true;
      dumped_ns_ = now_ns();
      detail::remove_old_dumps(path_, made, wanted_.keep, wanted_.keep_bytes);
    }
    const detail::mutex_hold hold(mutex_);
    status_.dumps += failed ? 0 : 1;
    status_.failed += failed ? 1 : 0;
    if (failed) status_.last_failure = failed;
  }

  trigger_options wanted_;
  char path_[detail::longest_path_bytes];
  detail::watch watch_;

  bool is_started_ = false;
  pid_t owner_ = 0;
  pthread_t thread_{};
  uint32_t stopping_ = 0, wakes_ = 0;
  const char* called_ = nullptr;
  uint64_t called_ticks_ = 0, calls_ = 0;

  // Of the thread.
  detail::trigger_note note_;
  bool is_pending_ = false, has_dumped_ = false;
  uint64_t fired_ns_ = 0, due_ns_ = 0, dumped_ns_ = 0;
  unsigned tries_ = 0;

  mutable pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  trigger_status status_;
};

/// Fires a trigger when its scope took longer than `budget`, exactly and at once, also where no region is: two clock
/// reads for this scope, nothing for any other. `what` is a string literal.
class CONTRAIL_DETAIL_HIDDEN latency_budget {
 public:
  latency_budget(trigger& which, const char* what, duration budget)
      : trigger_(which), what_(what), budget_ns_(budget.ns), began_ns_(detail::kernel_clock_ns(CLOCK_MONOTONIC)) {}
  ~latency_budget() {
    if (static_cast<int64_t>(detail::kernel_clock_ns(CLOCK_MONOTONIC) - began_ns_) > budget_ns_) trigger_.fire(what_);
  }
  latency_budget(const latency_budget&) = delete;
  latency_budget& operator=(const latency_budget&) = delete;

 private:
  trigger& trigger_;
  const char* what_;
  int64_t budget_ns_;
  uint64_t began_ns_;
};

CONTRAIL_DETAIL_NAMESPACE_END

#else

namespace contrail {
inline namespace disabled_v0 {

/// See contrail/trigger.hpp. Everything fails here, with error_code::compiled_out or not_supported.
class trigger {
 public:
  explicit trigger(const trigger_options& = {}) {}
  trigger(const trigger&) = delete;
  trigger& operator=(const trigger&) = delete;
  error latency(const char*, duration) { return detail::nothing_records(); }
  error stall(duration, const char* = "") { return detail::nothing_records(); }
  error counter(const char*, double) { return detail::nothing_records(); }
  error predicate(const char*, bool (*)(void*), void* = nullptr) { return detail::nothing_records(); }
  error start() { return detail::nothing_records(); }
  void stop() {}
  void fire(const char*) {}
  trigger_status status() const { return {}; }
};

class latency_budget {
 public:
  latency_budget(trigger&, const char*, duration) {}
};

}  // namespace disabled_v0
}  // namespace contrail

#endif

#endif
