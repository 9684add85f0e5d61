// SPDX-License-Identifier: MIT
// The public macros, without logic: each captures its call site in a lambda's type and calls a function.
#ifndef CONTRAIL_MACROS_HPP
#define CONTRAIL_MACROS_HPP

#include "contrail/detail/call_site.hpp"
#include "contrail/detail/object.hpp"
#include "contrail/detail/type_macros.hpp"

#define CONTRAIL_DETAIL_JOIN(a, b) CONTRAIL_DETAIL_JOIN_EXPANDED(a, b)
#define CONTRAIL_DETAIL_JOIN_EXPANDED(a, b) a##b
#define CONTRAIL_DETAIL_UNIQUE(prefix) CONTRAIL_DETAIL_JOIN(prefix, __COUNTER__)
#define CONTRAIL_DETAIL_SITE(...) [] { return CONTRAIL_DETAIL_SITE_TEXT(__VA_ARGS__); }

#ifdef CONTRAIL_COMPACT
#define CONTRAIL_DETAIL_BEGIN_FORM ::contrail::detail::begin_form::compact
#else
#define CONTRAIL_DETAIL_BEGIN_FORM ::contrail::detail::begin_form::inlined
#endif

/// Records the time from here to the end of the scope: CONTRAIL_REGION("name"), CONTRAIL_REGION("name", "key", value, …),
/// or CONTRAIL_REGION("name", object) with an object of a registered type.
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

/// Records a number that changes over time: CONTRAIL_COUNTER("name", value).
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
