// SPDX-License-Identifier: MIT
// The public macros, without logic: each captures its call site in a lambda's type and calls a function.
#ifndef CONTRAIL_MACROS_HPP
#define CONTRAIL_MACROS_HPP

#include "contrail/detail/call_site.hpp"
#include "contrail/detail/object.hpp"
#include "contrail/detail/type_macros.hpp"
#include "contrail/task.hpp"

#define CONTRAIL_DETAIL_JOIN(a, b) CONTRAIL_DETAIL_JOIN_EXPANDED(a, b)
#define CONTRAIL_DETAIL_JOIN_EXPANDED(a, b) a##b
#define CONTRAIL_DETAIL_UNIQUE(prefix) CONTRAIL_DETAIL_JOIN(prefix, __COUNTER__)
#define CONTRAIL_DETAIL_SITE(...) [] { return CONTRAIL_DETAIL_SITE_TEXT(__VA_ARGS__); }

#ifdef CONTRAIL_COMPACT
#define CONTRAIL_DETAIL_BEGIN_FORM ::contrail::detail::begin_form::compact
#else
#define CONTRAIL_DETAIL_BEGIN_FORM ::contrail::detail::begin_form::inlined
#endif

/// Records the time from here to the end of the scope: CONTRAIL_REGION("name"), CONTRAIL_REGION("name", "key", value,
/// …), or CONTRAIL_REGION("name", object) with an object of a registered type.
// The variable is not const: g++ 12 keeps const objects in memory, which costs a store and two loads per region.
// Async-signal-safe.
#define CONTRAIL_REGION(...)                                                        \
  [[maybe_unused]] auto CONTRAIL_DETAIL_UNIQUE(contrail_region_) =                 \
      ::contrail::detail::begin_region<CONTRAIL_DETAIL_BEGIN_FORM>(CONTRAIL_DETAIL_SITE(__VA_ARGS__), __VA_ARGS__)

/// A synonym of CONTRAIL_REGION.
#define CONTRAIL_SCOPE(...) CONTRAIL_REGION(__VA_ARGS__)

/// CONTRAIL_REGION under the enclosing function's name: CONTRAIL_FUNCTION(), CONTRAIL_FUNCTION("key", value, …).
#define CONTRAIL_FUNCTION(...) CONTRAIL_REGION(CONTRAIL_DETAIL_FUNCTION_NAME __VA_OPT__(, ) __VA_ARGS__)

/// A region held by a variable, of type contrail::region: CONTRAIL_REGION_VAR(r, "name", …), then r.set("key", value),
/// r.end().
#define CONTRAIL_REGION_VAR(variable, ...) \
  auto variable = ::contrail::detail::begin_region_var(CONTRAIL_DETAIL_SITE(__VA_ARGS__), __VA_ARGS__)

/// Records that something happened now.
// Async-signal-safe.
#define CONTRAIL_INSTANT(...)                                                         \
  ::contrail::detail::point<::contrail::detail::binding_kind::instant>(CONTRAIL_DETAIL_SITE(__VA_ARGS__), __VA_ARGS__)

/// A region in which the thread waits: for a lock (sync), the network (net), a system call (syscall), a disk (io), or
/// time (sleep): CONTRAIL_BLOCKED(net, "wait for reply", "key", value, …).
// Async-signal-safe.
#define CONTRAIL_BLOCKED(reason, ...)                                                                                 \
  [[maybe_unused]] auto CONTRAIL_DETAIL_UNIQUE(contrail_region_) = ::contrail::detail::begin_region<                  \
      CONTRAIL_DETAIL_BEGIN_FORM, ::contrail::detail::blocked_flag(::contrail::detail::blocked_on::reason)>(          \
      CONTRAIL_DETAIL_SITE(__VA_ARGS__), __VA_ARGS__)

/// Begins a task, held by a variable of type contrail::task: CONTRAIL_TASK(t, "name", "key", value, …). Its parent is
/// the thread's current task, see contrail::task_scope.
// Async-signal-safe.
#define CONTRAIL_TASK(variable, ...)                                                              \
  auto variable = ::contrail::detail::begin_span<::contrail::detail::binding_kind::task>(         \
      CONTRAIL_DETAIL_SITE(__VA_ARGS__), nullptr, __VA_ARGS__)

/// The same with another parent: a contrail::task, or a contrail::task_context from anywhere.
// Async-signal-safe.
#define CONTRAIL_TASK_OF(variable, parent, ...) \
  auto variable = ::contrail::detail::begin_task_of(CONTRAIL_DETAIL_SITE(__VA_ARGS__), parent, __VA_ARGS__)

/// Begins something that does not nest with the thread's regions, held by a variable of type contrail::task, which may
/// end on another thread: CONTRAIL_ASYNC(s, "name", "key", value, …).
// Async-signal-safe.
#define CONTRAIL_ASYNC(variable, ...)                                                             \
  auto variable = ::contrail::detail::begin_span<::contrail::detail::binding_kind::async_span>(   \
      CONTRAIL_DETAIL_SITE(__VA_ARGS__), nullptr, __VA_ARGS__)

/// Marks where a frame of a loop ends and the next one begins: CONTRAIL_FRAME("name"). Arguments,
/// CONTRAIL_FRAME("name", "key", value, …), are those of the frame that begins.
// Async-signal-safe.
#define CONTRAIL_FRAME(...) \
  ::contrail::detail::point<::contrail::detail::binding_kind::frame_mark>(CONTRAIL_DETAIL_SITE(__VA_ARGS__), __VA_ARGS__)

/// Records a number that changes over time: CONTRAIL_COUNTER("name", value); or several that belong together:
/// CONTRAIL_COUNTER("name", "key", value, …).
// Async-signal-safe.
#define CONTRAIL_COUNTER(...)                                                         \
  ::contrail::detail::point<::contrail::detail::binding_kind::counter>(CONTRAIL_DETAIL_SITE(__VA_ARGS__), __VA_ARGS__)

/// Records a line of text in fmt's syntax; the arguments are kept as values and formatted by the reader.
// Async-signal-safe.
#define CONTRAIL_LOG(...) \
  ::contrail::detail::log_line<CONTRAIL_DETAIL_LOG_CHECKER>(CONTRAIL_DETAIL_SITE(__VA_ARGS__), __VA_ARGS__)

/// Records an object of a registered type; variadic, so that braces need no parentheses: CONTRAIL_EMIT(point{1, 2}).
// Async-signal-safe.
#define CONTRAIL_EMIT(...) ::contrail::detail::emit(__VA_ARGS__)

/// Names the running thread in traces; 31 bytes are kept.
// Async-signal-safe.
#define CONTRAIL_THREAD_NAME(name) ::contrail::detail::name_thread(name)

#endif
