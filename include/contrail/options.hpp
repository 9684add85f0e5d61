// SPDX-License-Identifier: MIT
// What flight_recorder takes and tells: plain aggregates for designated initialisers. New members are only appended.
#ifndef CONTRAIL_OPTIONS_HPP
#define CONTRAIL_OPTIONS_HPP

#include "contrail/error.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// Which call sites record. Both lists are comma separated globs, the last one that matches decides, '-' excludes:
/// `{.categories = "net,db*,-db.noise"}`. Null or empty lets everything through. The strings are copied.
struct filter_options {
  const char* categories = nullptr;
  const char* names = nullptr;
};

/// Where thread states come from: see contrail/thread_states.hpp.
struct thread_state_source {};

/// Options of flight_recorder::start.
struct options {
  /// Bytes of the whole recorder, everything included; a hard bound. At least 1 MiB.
  uint64_t memory = 32U << 20;
  /// How far back every dump reaches at most, also those by signal. 0: all that memory holds.
  duration window{};
  /// Touch all memory at start, some 0.1 to 0.3 ms a MiB, instead of at first use, some 5 us per 8 KiB. It then lies in
  /// huge pages where the system has them, which makes records cheaper; making room for these may take the system 3 ms
  /// a MiB.
  bool prefault = false;
  filter_options filter{};
  /// Keeps the recorder in this file instead of in private memory, so that what it holds outlives a SIGKILL of the
  /// process. Placeholders as in the path of a dump. The string is copied.
  const char* file = nullptr;
  /// How many older files of that name, or pattern, stay when a new one is made; at most 64.
  unsigned keep_files = 4;
  /// A forked child records too, from the start on, in an image of its own with these options. Else it records nothing
  /// until it calls start.
  bool follow_fork = false;
  /// Keeps when each thread ran, waited, and waited for a processor: contrail::context_switches, of
  /// contrail/thread_states.hpp. Where the system does not permit it, recording goes on, and dumps say why they have
  /// none.
  const thread_state_source* thread_states = nullptr;
};

/// Options of one dump.
struct dump_options {
  /// How far back it reaches; 0: as far as `options::window` says.
  duration last{};
};

/// Options of flight_recorder::dump_on_crash.
struct crash_options {
  /// How far back the dump reaches; 0: as far as `options::window` says.
  duration last{};
  /// The numbers of the signals: SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS, or fewer of them. 0 is
  /// none.
  int signals[7] = {4, 5, 6, 7, 8, 11, 31};
  /// std::terminate too: exceptions that nobody catches, or that leave a noexcept function.
  bool terminate = true;
  /// A dump that takes longer is given up, and the process dies without.
  duration watchdog{10'000'000'000};
  /// Gives the calling thread an alternate signal stack at once, if it has none, so that its stack may overflow.
  /// Threads that record get one in any case.
  bool caller_stack = true;
};

enum class recorder_state { off, recording };

/// What flight_recorder::status tells. Counts are of this moment and may be changing.
struct recorder_status {
  recorder_state state = recorder_state::off;
  uint64_t window_ns = 0;      ///< how far back nothing was overwritten, of any thread
  uint64_t memory_bytes = 0;   ///< of the recorder, everything included
  uint64_t used_bytes = 0;     ///< in chunks that hold records
  uint64_t records = 0;        ///< in memory now
  uint64_t dropped = 0;        ///< lost since start other than by being overwritten: no memory, too deep, misnested
  uint64_t threads = 0;        ///< that have a place in the recorder
  uint64_t call_sites = 0;     ///< and event types bound so far
};

CONTRAIL_DETAIL_NAMESPACE_END

#endif
