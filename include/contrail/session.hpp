// SPDX-License-Identifier: MIT
// Opt-in: streams all that the running flight recorder records to a file or descriptor, until it is stopped.
//
//   #include <contrail/contrail.hpp>
//   #include <contrail/session.hpp>
//
//   contrail::flight_recorder::start();
//   contrail::session session;
//   if (auto failed = session.start({.file = "run.contrail"})) puts(failed.message());
//   ...
//   const contrail::session_result result = session.stop();
//   if (result.failed) puts(result.failed.message());
#ifndef CONTRAIL_SESSION_HPP
#define CONTRAIL_SESSION_HPP

#include "contrail/contrail.hpp"

#if CONTRAIL_DETAIL_ENABLED
#ifdef CONTRAIL_MACROS_ONLY
#error "contrail/session.hpp needs all of contrail: leave out CONTRAIL_MACROS_ONLY in this translation unit."
#endif
#include "contrail/detail/session_start.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
#else
namespace contrail {
inline namespace disabled_v0 {
#endif

/// What gives way where more is recorded than the stream takes. No thread that records ever waits.
enum class session_policy {
  drop,  ///< the session: writers overwrite the oldest as always, and the stream has gaps
  block  ///< writers: they drop new records rather than overwrite what is not in the stream
};

/// Options of session::start. New members are only appended.
struct session_options {
  /// The stream's file, with placeholders as in the path of a dump. It has its name from the start on, so that a killed
  /// process leaves a stream; an older file of that name is replaced. Mode 0600.
  const char* file = nullptr;
  /// Instead of a file: where to write. It must stay open until stop, and is not closed.
  int descriptor = -1;
  /// How far the stream is behind what is recorded at most, as long as the file or descriptor is quick enough. At least
  /// 1 ms.
  duration interval{100'000'000};
  session_policy when_slow = session_policy::drop;
};

/// What session::stop and session::status tell.
struct session_result {
  error failed;                  ///< what ended the session early
  uint64_t bytes = 0;            ///< written, in whole blocks
  uint64_t chunks = 0;           ///< of which the stream has a part
  uint64_t lost_records = 0;     ///< recorded and not in the stream: overwritten before, or not written. Exact
  uint64_t dropped_records = 0;  ///< not recorded meanwhile, as recorder_status::dropped counts them
};

#if CONTRAIL_DETAIL_ENABLED

/// A continuous stream of the running flight recorder, from start to stop. A thread of its own copies chunks beside
/// those that record; several sessions may run at once. Each object is used by one thread at a time, but for `status`.
/// Not in signal handlers.
class CONTRAIL_DETAIL_HIDDEN session {
 public:
  session() = default;
  session(session&& from) noexcept : state_(from.state_) { from.state_ = nullptr; }
  session& operator=(session&& from) noexcept {
    if (this != &from) {
      stop();
      state_ = from.state_;
      from.state_ = nullptr;
    }
    return *this;
  }
  /// Stops it.
  ~session() { stop(); }

  /// Begins to stream what is recorded from now on. Fails with not_running, already_running, bad_option, path, file,
  /// out_of_memory or incompatible.
  error start(const session_options& wanted) {
    detail::object_link<void>::require();
    if (state_ != nullptr) return {error_code::already_running, "This session was started already: stop it first."};
    if ((wanted.file == nullptr) == (wanted.descriptor < 0)) {
      return {error_code::bad_option, "session_options needs either a file or a descriptor."};
    }
    if (wanted.interval.ns < 1'000'000) {
      return {error_code::bad_option, "session_options.interval must be at least 1 ms."};
    }
    error failed;
    state_ = detail::begin_session({wanted.file, wanted.descriptor, static_cast<uint64_t>(wanted.interval.ns),
                                    wanted.when_slow == session_policy::block},
                                   failed);
    return failed;
  }

  /// Writes what was recorded until now and ends the stream; waits for that, however slow a pipe's reader is. Without a
  /// running session it returns zeros. The first error of all is in `failed`: one that ended the stream before, and
  /// not_running if the flight recorder was stopped first. In a forked child the session does not exist.
  session_result stop() {
    if (state_ == nullptr) return {};
    session_result result;
    if (detail::is_of_other_process(*state_)) {
      result.failed = {error_code::not_running, "The session belongs to the process that forked this one."};
    } else {
      detail::join_session(*state_);
      result = status();
    }
    detail::free_session(state_);
    state_ = nullptr;
    return result;
  }

  /// What stop would return now, less what it still has to write. Any thread, while no other starts or stops the
  /// session.
  session_result status() const {
    session_result result;
    if (state_ == nullptr) return result;
    result.failed = detail::failure_of(*state_);
    result.bytes = state_->sink.bytes();
    result.chunks = state_->chunks.load_relaxed();
    result.lost_records = detail::lost_records(*state_);
    result.dropped_records = detail::dropped_records(*state_);
    return result;
  }

  /// Whether it was started, and neither stopped nor ended by an error.
  bool is_running() const {
    return state_ != nullptr && !detail::is_of_other_process(*state_) && state_->is_done.load_acquire() == 0;
  }

 private:
  detail::session_state* state_ = nullptr;
};

CONTRAIL_DETAIL_NAMESPACE_END

#else

/// See above. Nothing records here: start fails with error_code::compiled_out or not_supported.
class session {
 public:
  session() = default;
  session(session&&) noexcept {}
  session& operator=(session&&) noexcept { return *this; }
  ~session() {}
  error start(const session_options&) { return detail::nothing_records(); }
  session_result stop() { return {}; }
  session_result status() const { return {}; }
  bool is_running() const { return false; }
};

}  // namespace disabled_v0
}  // namespace contrail
#endif

#endif
