// SPDX-License-Identifier: MIT
// Opt-in: locks of the standard library that record when a thread really waited for them, and for whom. A lock that is free
// costs two stores more than the standard's own.
//
//   #include <contrail/blocking.hpp>
//
//   contrail::mutex accounts{"accounts"};
//   std::lock_guard lock(accounts);     // a wait is a region "wait for mutex", blocked on sync
#ifndef CONTRAIL_BLOCKING_HPP
#define CONTRAIL_BLOCKING_HPP

#include "contrail/contrail.hpp"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <shared_mutex>

namespace contrail {
// The locks are other types where nothing records: translation units that share one must agree.
#if CONTRAIL_DETAIL_ENABLED
inline namespace v0 {
#else
inline namespace disabled_v0 {
#endif
namespace detail CONTRAIL_DETAIL_HIDDEN {

#if CONTRAIL_DETAIL_ENABLED

/// Who holds a lock: the thread's place in the recorder, from which a waiting thread finds its id.
class lock_holder {
 public:
  void set() noexcept { frame_.store_relaxed(reinterpret_cast<uint64_t>(next_frame)); }
  void clear() noexcept { frame_.store_relaxed(0); }
  /// 0: nobody, or a thread that has not recorded yet.
  // Async-signal-safe.
  uint32_t tid() const noexcept {
    const process_state* const process = joined_process();
    const uint64_t address = frame_.load_relaxed();
    if (process == nullptr || address == 0 || process->recording.load_acquire() == 0) return 0;
    const image_view& image = *current_image(*process);
    const uint64_t slots = reinterpret_cast<uint64_t>(image.slots);
    if (address < slots || address >= slots + image.slot_count * sizeof(thread_slot)) return 0;
    const thread_slot& slot = image.slots[(address - slots) / sizeof(thread_slot)];
    return static_cast<uint32_t>(slot.tid_index.load_relaxed());
  }

 private:
  atomic_word frame_;
};

#else

struct lock_holder {
  void set() noexcept {}
  void clear() noexcept {}
  uint32_t tid() const noexcept { return 0; }
};

#endif

}  // namespace detail

/// A mutex over `Mutex`, which may be any that has lock, try_lock and unlock. Usable with std::lock_guard and the like.
template <class Mutex>
class [[gnu::visibility("hidden")]] basic_mutex {
 public:
  /// `name` stands in the records of waits; it must live as long as the mutex, as a literal does.
  constexpr explicit basic_mutex(const char* name = "") noexcept : name_(name) {}
  basic_mutex(const basic_mutex&) = delete;
  basic_mutex& operator=(const basic_mutex&) = delete;

  void lock() {
    if (!inner_.try_lock()) wait();
    holder_.set();
  }
  bool try_lock() {
    if (!inner_.try_lock()) return false;
    holder_.set();
    return true;
  }
  void unlock() {
    holder_.clear();
    inner_.unlock();
  }

 private:
  friend class condition_variable;

  __attribute__((noinline)) void wait() {
    CONTRAIL_BLOCKED(sync, "wait for mutex", "mutex", name_, "held by", holder_.tid());
    inner_.lock();
  }

  Mutex inner_;
  detail::lock_holder holder_;
  const char* name_;
};
using mutex = basic_mutex<std::mutex>;

/// The same over std::shared_mutex. Of shared holders nothing is known but that there are some.
class [[gnu::visibility("hidden")]] shared_mutex {
 public:
  explicit shared_mutex(const char* name = "") noexcept : name_(name) {}
  shared_mutex(const shared_mutex&) = delete;
  shared_mutex& operator=(const shared_mutex&) = delete;

  void lock() {
    if (!inner_.try_lock()) wait();
    holder_.set();
  }
  bool try_lock() {
    if (!inner_.try_lock()) return false;
    holder_.set();
    return true;
  }
  void unlock() {
    holder_.clear();
    inner_.unlock();
  }
  void lock_shared() {
    if (!inner_.try_lock_shared()) wait_shared();
  }
  bool try_lock_shared() { return inner_.try_lock_shared(); }
  void unlock_shared() { inner_.unlock_shared(); }

 private:
  __attribute__((noinline)) void wait() {
    CONTRAIL_BLOCKED(sync, "wait for shared mutex", "mutex", name_, "held by", holder_.tid());
    inner_.lock();
  }
  __attribute__((noinline)) void wait_shared() {
    CONTRAIL_BLOCKED(sync, "wait to share mutex", "mutex", name_, "held by", holder_.tid());
    inner_.lock_shared();
  }

  std::shared_mutex inner_;
  detail::lock_holder holder_;
  const char* name_;
};

/// std::condition_variable for contrail::mutex. A wait is recorded if it waits: not where the predicate holds at once.
class [[gnu::visibility("hidden")]] condition_variable {
  /// The mutex is nobody's while the thread waits.
  template <class Work>
  static auto with_inner(std::unique_lock<mutex>& lock, Work&& work) {
    mutex& held = *lock.mutex();
    struct taken {
      mutex& held;
      std::unique_lock<std::mutex> inner;
      explicit taken(mutex& of) : held(of), inner(of.inner_, std::adopt_lock) { held.holder_.clear(); }
      ~taken() {
        inner.release();
        held.holder_.set();
      }
    } inside(held);
    return work(inside.inner);
  }

 public:
  explicit condition_variable(const char* name = "") : name_(name) {}
  condition_variable(const condition_variable&) = delete;
  condition_variable& operator=(const condition_variable&) = delete;

  void notify_one() noexcept { inner_.notify_one(); }
  void notify_all() noexcept { inner_.notify_all(); }

  void wait(std::unique_lock<mutex>& lock) {
    CONTRAIL_BLOCKED(sync, "wait for condition", "condition", name_);
    with_inner(lock, [&](std::unique_lock<std::mutex>& inner) { inner_.wait(inner); });
  }
  template <class Predicate>
  void wait(std::unique_lock<mutex>& lock, Predicate stop) {
    while (!stop()) wait(lock);
  }
  template <class Clock, class Duration>
  std::cv_status wait_until(std::unique_lock<mutex>& lock, const std::chrono::time_point<Clock, Duration>& deadline) {
    CONTRAIL_BLOCKED(sync, "wait for condition", "condition", name_);
    return with_inner(lock, [&](std::unique_lock<std::mutex>& inner) { return inner_.wait_until(inner, deadline); });
  }
  template <class Clock, class Duration, class Predicate>
  bool wait_until(std::unique_lock<mutex>& lock, const std::chrono::time_point<Clock, Duration>& deadline,
                  Predicate stop) {
    while (!stop()) {
      if (wait_until(lock, deadline) == std::cv_status::timeout) return stop();
    }
    return true;
  }
  template <class Rep, class Period>
  std::cv_status wait_for(std::unique_lock<mutex>& lock, const std::chrono::duration<Rep, Period>& time) {
    return wait_until(lock, deadline_after(time));
  }
  template <class Rep, class Period, class Predicate>
  bool wait_for(std::unique_lock<mutex>& lock, const std::chrono::duration<Rep, Period>& time, Predicate stop) {
    return wait_until(lock, deadline_after(time), std::move(stop));
  }

 private:
  /// In the clock's own unit: a float holds times of a long uptime to milliseconds or worse.
  template <class Rep, class Period>
  static std::chrono::steady_clock::time_point deadline_after(const std::chrono::duration<Rep, Period>& time) {
    return std::chrono::steady_clock::now() + std::chrono::ceil<std::chrono::steady_clock::duration>(time);
  }

  std::condition_variable inner_;
  const char* name_;
};

}  // inline namespace
}  // namespace contrail

#endif
