// SPDX-License-Identifier: MIT
// What is left where nothing can be recorded: under CONTRAIL_DISABLED, and on platforms that contrail does not support.
// Macros type-check their arguments and never evaluate them. The functions that control the recorder exist, in an
// inline namespace of their own so that translation units may differ, and say why they do nothing.
#ifndef CONTRAIL_DISABLED_HPP
#define CONTRAIL_DISABLED_HPP

#include "contrail/options.hpp"
#include "contrail/task_context.hpp"

namespace contrail {
inline namespace disabled_v0 {

namespace detail {

/// Never called: it checks that every argument is an expression, and uses it in the compiler's eyes, so that nothing
/// that exists only for a macro is warned about.
template <class... Args>
constexpr void checked(const Args&...) noexcept {}

constexpr error nothing_records() {
#ifdef CONTRAIL_DISABLED
  return {error_code::compiled_out, "contrail was compiled out of this translation unit by CONTRAIL_DISABLED."};
#else
  return {error_code::not_supported, "contrail is not supported here: it records on Linux, x86-64 and arm64, with g++ "
                                     "or clang."};
#endif
}

}  // namespace detail

/// See contrail/flight_recorder.hpp. Everything fails here, with error_code::compiled_out or not_supported.
template <class = void>
class basic_flight_recorder {
 public:
  basic_flight_recorder() = delete;
  static error start(const options& = {}) { return detail::nothing_records(); }
  static error stop() { return detail::nothing_records(); }
  static recorder_status status() { return {}; }
  static error dump(const char*, const dump_options& = {}) { return detail::nothing_records(); }
  static error dump(int, const dump_options& = {}) { return detail::nothing_records(); }
  template <class Bytes>
    requires requires(Bytes& bytes) { bytes.resize(bytes.size()); }
  static error dump(Bytes&, const dump_options& = {}) {
    return detail::nothing_records();
  }
  static error dump_on_signal(int, const char*, const dump_options& = {}) { return detail::nothing_records(); }
  static error dump_on_crash(const char*, const crash_options& = {}) { return detail::nothing_records(); }
  static error set_filter(const filter_options&) { return detail::nothing_records(); }
};
using flight_recorder = basic_flight_recorder<>;

/// The variable of CONTRAIL_REGION_VAR. Its arguments are ordinary function arguments: they are evaluated.
class region {
 public:
  template <class Value>
  constexpr void set(const char*, const Value&) {}
  constexpr void end() {}
};

/// See contrail/task.hpp.
class task {
 public:
  constexpr task() = default;
  constexpr task(task&&) noexcept {}
  constexpr task& operator=(task&&) noexcept { return *this; }
  constexpr ~task() {}
  constexpr void end() {}
  constexpr task_context context() const { return {}; }
  constexpr explicit operator bool() const { return false; }
};
class task_scope {
 public:
  explicit task_scope(const task&) {}
  explicit task_scope(const task_context&) {}
  ~task_scope() {}
  task_scope(const task_scope&) = delete;
  task_scope& operator=(const task_scope&) = delete;
};
struct flow_out {
  uint64_t id;
};
struct flow_in {
  uint64_t id;
};
struct flow {
  uint64_t id = 0;
  static flow begin() { return {}; }
  constexpr flow_out out() const { return {id}; }
  constexpr flow_in in() const { return {id}; }
};

}  // namespace disabled_v0
}  // namespace contrail

// Spelt out in full, as contrail/reader.hpp brings the other namespace detail.
#define CONTRAIL_DETAIL_CHECK(...) \
  (false ? ::contrail::disabled_v0::detail::checked(__VA_ARGS__) : static_cast<void>(0))

#define CONTRAIL_REGION(...) CONTRAIL_DETAIL_CHECK(__VA_ARGS__)
#define CONTRAIL_SCOPE(...) CONTRAIL_DETAIL_CHECK(__VA_ARGS__)
#define CONTRAIL_FUNCTION(...) CONTRAIL_DETAIL_CHECK(__VA_ARGS__)
#define CONTRAIL_REGION_VAR(variable, ...) \
  CONTRAIL_DETAIL_CHECK(__VA_ARGS__);      \
  [[maybe_unused]] ::contrail::region variable
#define CONTRAIL_BLOCKED(reason, ...) CONTRAIL_DETAIL_CHECK(__VA_ARGS__)
#define CONTRAIL_TASK(variable, ...)  \
  CONTRAIL_DETAIL_CHECK(__VA_ARGS__); \
  [[maybe_unused]] ::contrail::task variable
#define CONTRAIL_TASK_OF(variable, parent, ...) \
  CONTRAIL_DETAIL_CHECK(parent, __VA_ARGS__);   \
  [[maybe_unused]] ::contrail::task variable
#define CONTRAIL_ASYNC(variable, ...) CONTRAIL_TASK(variable, __VA_ARGS__)
#define CONTRAIL_FRAME(...) CONTRAIL_DETAIL_CHECK(__VA_ARGS__)
#define CONTRAIL_INSTANT(...) CONTRAIL_DETAIL_CHECK(__VA_ARGS__)
#define CONTRAIL_COUNTER(...) CONTRAIL_DETAIL_CHECK(__VA_ARGS__)
#define CONTRAIL_LOG(...) CONTRAIL_DETAIL_CHECK(__VA_ARGS__)
#define CONTRAIL_EMIT(...) CONTRAIL_DETAIL_CHECK(__VA_ARGS__)
#define CONTRAIL_THREAD_NAME(name) CONTRAIL_DETAIL_CHECK(name)
#define CONTRAIL_EVENT_TYPE(type, ...) static_assert(sizeof(type) != 0)
#define CONTRAIL_CATEGORY(name) static_assert(sizeof(name) != 0)

#endif
