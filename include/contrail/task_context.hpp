// SPDX-License-Identifier: MIT
// What names a task to others: to threads of this process, and by W3C Trace Context to other processes and tracing
// systems.
#ifndef CONTRAIL_TASK_CONTEXT_HPP
#define CONTRAIL_TASK_CONTEXT_HPP

#include "contrail/config.hpp"

#include "contrail/error.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN

inline constexpr unsigned traceparent_bytes = 55;

/// The name of a task, to be copied and passed on: it keeps nothing alive. Empty if there is no task.
// What reads and writes text is a template each, so that only who uses it compiles it.
struct task_context {
  uint64_t id = 0;          ///< in this process; 0: none, or a task of another process
  uint64_t trace_high = 0;  ///< the trace id, 128 bits; 0: none
  uint64_t trace_low = 0;
  uint64_t span = 0;        ///< the task's own id in that trace

  constexpr explicit operator bool() const { return id != 0 || span != 0; }

  /// Of the text of a `traceparent` header, as another process sent it: a task that has it as its parent joins that
  /// trace. Empty where the text is null, malformed, or of all zeros.
  // Async-signal-safe.
  template <class = void>
  static constexpr task_context from_traceparent(const char* text) {
    task_context found;
    uint64_t version = 0, flags = 0;
    const bool is_good = text != nullptr && take_hex(text, 2, '-', version) && take_hex(text, 16, 0, found.trace_high) &&
                         take_hex(text, 16, '-', found.trace_low) && take_hex(text, 16, '-', found.span) &&
                         take_hex(text, 2, 0, flags);
    // Later versions may have more behind a dash.
    if (!is_good || version == 0xff || (*text != '\0' && (version == 0 || *text != '-'))) return {};
    if ((found.trace_high | found.trace_low) == 0 || found.span == 0) return {};
    return found;
  }

  /// The header to send with a request, 55 characters and a NUL; empty text, and false, where there is no trace.
  // Async-signal-safe.
  template <class = void>
  constexpr bool write_traceparent(char (&text)[traceparent_bytes + 1]) const {
    text[0] = '\0';
    if (span == 0) return false;
    char* at = put_hex(text, 0, 2);
    *at++ = '-';
    at = put_hex(put_hex(at, trace_high, 16), trace_low, 16);
    *at++ = '-';
    at = put_hex(at, span, 16);
    *at++ = '-';
    *put_hex(at, 1, 2) = '\0';  // recorded
    return true;
  }

 private:
  /// Takes `digits` hexadecimal digits, in lower case as the standard wants, and the character `end` behind them.
  template <class = void>
  static constexpr bool take_hex(const char*& at, unsigned digits, char end, uint64_t& value) {
    value = 0;
    for (unsigned i = 0; i < digits; ++i, ++at) {
      const bool is_letter = *at >= 'a' && *at <= 'f';
      if (!is_letter && (*at < '0' || *at > '9')) return false;
      value = value << 4 | static_cast<uint64_t>(is_letter ? *at - 'a' + 10 : *at - '0');
    }
    return end == 0 || *at++ == end;
  }
  template <class = void>
  static constexpr char* put_hex(char* at, uint64_t value, unsigned digits) {
    for (unsigned i = digits; i-- != 0;) *at++ = "0123456789abcdef"[value >> 4 * i & 0xf];
    return at;
  }
};

CONTRAIL_DETAIL_NAMESPACE_END

#endif
