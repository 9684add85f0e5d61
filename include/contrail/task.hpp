// SPDX-License-Identifier: MIT
// Tasks, asynchronous spans and flows: what does not stay on one thread.
#ifndef CONTRAIL_TASK_HPP
#define CONTRAIL_TASK_HPP

#include "contrail/detail/call_site.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN

// g++ does not see that an empty std::optional<task> destroys nothing.
#pragma GCC diagnostic push
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

/// An open task or asynchronous span, from TRACE_TASK or TRACE_ASYNC. It may move to other threads, and ends on any of
/// them: by `end`, or with this object. Empty if it is not recorded; then all of it does nothing.
class CONTRAIL_DETAIL_SCOPE_OBJECT task {
 public:
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr task() = default;
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr explicit task(detail::open_span opened) : opened_(opened) {}
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr task(task&& other) noexcept : opened_(other.opened_) { other.opened_ = {}; }
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr task& operator=(task&& other) noexcept {
    if (this == &other) return *this;
    end();
    opened_ = other.opened_;
    other.opened_ = {};
    return *this;
  }
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr ~task() { end(); }

  /// Ends it now. Harmless when it has ended.
  // Async-signal-safe.
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr void end() {
    if (opened_.at == nullptr) return;
    detail::the_slow_half().end_span(detail::this_caller(), opened_.at, opened_.context.id);
    opened_ = {};
  }

  /// What tells it from all others, for other threads and processes. Empty when it has ended.
  // Async-signal-safe.
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr task_context context() const { return opened_.context; }
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr explicit operator bool() const { return opened_.at != nullptr; }

 private:
  detail::open_span opened_;
};

namespace detail CONTRAIL_DETAIL_HIDDEN {

inline bool is_recording() {
  const process_state* const process = joined_process();
  return process != nullptr && process->recording.load_acquire() != 0;
}

/// Tells threads apart, the same in all objects. Asked of the processor each time: a compiler may keep the address of a
/// thread-local variable over a co_await.
// Async-signal-safe.
CONTRAIL_DETAIL_ALWAYS_INLINE uint64_t thread_mark() {
  uint64_t mark = 0;
#if defined(__x86_64__)
  asm volatile("movq %%fs:0, %0" : "=r"(mark));
#elif defined(__aarch64__)
  asm volatile("mrs %0, tpidr_el0" : "=r"(mark));
#else
#error "contrail: thread_mark does not know this processor."
#endif
  return mark;
}

}  // namespace detail

/// In its scope a task is the running thread's current one: what the thread records belongs to it, and tasks that begin
/// are its children. Made and destroyed on one thread, in a coroutine between two suspensions: destroyed on another
/// thread it leaves that one's current task alone, and the first thread in this task until a scope around it ends
/// there.
// Async-signal-safe.
class CONTRAIL_DETAIL_SCOPE_OBJECT task_scope {
 public:
  CONTRAIL_DETAIL_ALWAYS_INLINE explicit task_scope(const task& current) : task_scope(current.context()) {}
  CONTRAIL_DETAIL_ALWAYS_INLINE explicit task_scope(const task_context& current)
      : is_set_(current.id != 0 && detail::is_recording()) {
    if (!is_set_) return;
    thread_ = detail::thread_mark();
    before_ = detail::the_slow_half().set_current_task(detail::this_caller(), current.id);
  }
  CONTRAIL_DETAIL_ALWAYS_INLINE ~task_scope() {
    if (!is_set_ || thread_ != detail::thread_mark()) return;
    detail::the_slow_half().set_current_task(detail::this_caller(), before_);
  }
  task_scope(const task_scope&) = delete;
  task_scope& operator=(const task_scope&) = delete;

 private:
  uint64_t before_ = 0;
  uint64_t thread_ = 0;
  bool is_set_;
};

#pragma GCC diagnostic pop

/// An arrow from one record to others, to be passed along with what it follows: TRACE_REGION("send", "to", f.out()),
/// and where it arrives TRACE_REGION("receive", "from", f.in()).
struct flow {
  uint64_t id = 0;  ///< 0: none

  /// A new one, unlike all others. Empty while nothing records.
  // Async-signal-safe.
  template <class T = void>
  static flow begin() {
    using namespace detail;
    object_link<T>::require();
    if (!is_recording()) return {};
    superblock& super = *current_image(*joined_process())->super;
    return {scramble(super.seed[1] ^ super.next_flow.fetch_add_relaxed(1))};
  }
  constexpr flow_out out() const { return {id}; }
  constexpr flow_in in() const { return {id}; }
};

namespace detail CONTRAIL_DETAIL_HIDDEN {

constexpr task_context context_of(const task& parent) { return parent.context(); }
constexpr const task_context& context_of(const task_context& parent) { return parent; }

template <binding_kind Kind, class Site, class Name, class... Args>
constexpr task begin_span(Site, const task_context* parent, const Name&, const Args&... args) {
  if constexpr (check_site<Site, Kind, Args...>()) {
    if (__builtin_is_constant_evaluated()) return task();
    call_site& site = site_storage<0, Site, Kind, Args...>::value;
    if (difference(site.word, own_object().epoch) == site_off) return task();
    atomic_word payload[frame_payload_words];
    const unsigned words = encode_arguments<Kind, Args...>(payload, frame_payload_words, args...);
    constexpr unsigned is_task = Kind == binding_kind::task ? span_is_task : 0;
    return task(the_slow_half().begin_span(this_caller(), site, parent, payload, words | is_task));
  } else {
    return task();
  }
}

/// With an explicit parent, which stands between the variable and the name.
template <class Site, class Parent, class Name, class... Args>
constexpr task begin_task_of(Site site, const Parent& parent, const Name& name, const Args&... args) {
  const task_context above = context_of(parent);
  return begin_span<binding_kind::task>(site, &above, name, args...);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
