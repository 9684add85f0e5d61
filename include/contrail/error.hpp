// SPDX-License-Identifier: MIT
// How functions of contrail say that they failed, and durations as they take them.
#ifndef CONTRAIL_ERROR_HPP
#define CONTRAIL_ERROR_HPP

#include "contrail/config.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN

// Of <stdint.h> and <stddef.h>, which would be half of what this header costs under CONTRAIL_DISABLED.
using int64_t = __INT64_TYPE__;
using uint64_t = __UINT64_TYPE__;
using size_t = __SIZE_TYPE__;

enum class error_code {
  none = 0,
  already_running,   ///< a recorder runs; stop it first, or use it
  not_running,       ///< nothing records; call start
  not_supported,     ///< contrail does not support this platform
  compiled_out,      ///< this translation unit was compiled with CONTRAIL_DISABLED
  incompatible,      ///< another shared object of the process carries an incompatible contrail
  bad_option,        ///< an option or argument cannot be used
  out_of_memory,     ///< the system gave no memory for the image
  busy,              ///< another dump is being written
  path,              ///< the path is too long or has an unknown placeholder
  file               ///< the system refused to open, write or rename a file
};

/// What went wrong, or nothing: `if (auto failed = flight_recorder::dump(path)) puts(failed.message());`
/// Owns no memory but its own; safe to make and copy in a signal handler.
class error {
 public:
  constexpr error() = default;
  /// Copies `message`, cut to fit.
  constexpr error(error_code code, const char* message) : code_(code) {
    size_t i = 0;
    for (; message[i] != '\0' && i + 1 < sizeof message_; ++i) message_[i] = message[i];
    message_[i] = '\0';
  }

  /// True when something failed.
  constexpr explicit operator bool() const { return code_ != error_code::none; }
  constexpr error_code code() const { return code_; }
  /// One sentence that says what failed and what to do; empty when nothing failed. Lives as long as this object.
  constexpr const char* message() const { return message_; }

 private:
  error_code code_ = error_code::none;
  char message_[252] = {};
};

/// A length of time in nanoseconds. Takes any std::chrono::duration by its shape, so that this header needs no
/// <chrono>: `{.last = 200ms}`.
struct duration {
  int64_t ns = 0;

  constexpr duration() = default;
  constexpr explicit duration(int64_t nanoseconds) : ns(nanoseconds) {}
  template <class Chrono>
    requires requires(const Chrono& from) {
      from.count();
      Chrono::period::num;
      Chrono::period::den;
    }
  constexpr duration(const Chrono& from)  // NOLINT(google-explicit-constructor): `{.last = 5s}` has to read like that
      : ns(saturated(static_cast<long double>(from.count()) * Chrono::period::num * 1'000'000'000 /
                     Chrono::period::den)) {}

 private:
  /// 292 years either way are as good as for ever.
  static constexpr int64_t saturated(long double nanoseconds) {
    constexpr int64_t most = __INT64_MAX__;
    if (!(nanoseconds < static_cast<long double>(most))) return most;
    if (!(nanoseconds > -static_cast<long double>(most))) return -most;
    return static_cast<int64_t>(nanoseconds);
  }
};

CONTRAIL_DETAIL_NAMESPACE_END

#endif
