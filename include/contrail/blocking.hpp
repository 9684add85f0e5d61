// SPDX-License-Identifier: MIT
// Opt-in: locks of the standard library that record when a thread really waited for them, and for whom. A lock that is
// free costs what the standard's own costs, a shared_mutex that is taken alone 3 % more.
//
//   #include <contrail/blocking.hpp>
//
//   contrail::mutex accounts{"accounts"};
//   std::lock_guard lock(accounts);     // a wait is a region "wait for mutex", blocked on sync
#ifndef CONTRAIL_BLOCKING_HPP
#define CONTRAIL_BLOCKING_HPP

#include "contrail/contrail.hpp"

#include <pthread.h>
#include <time.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <shared_mutex>
#include <type_traits>

#if defined(__has_include)
#if __has_include(<sys/single_threaded.h>)  // glibc 2.32
#include <sys/single_threaded.h>
#define CONTRAIL_DETAIL_KNOWS_SINGLE_THREADED 1
#endif
#endif
#ifndef CONTRAIL_DETAIL_KNOWS_SINGLE_THREADED
#define CONTRAIL_DETAIL_KNOWS_SINGLE_THREADED 0
#endif

// On types that programs make members of theirs, which are visible: g++ warns of a type that is more visible than its
// members. So functions are hidden one by one.
#define CONTRAIL_DETAIL_MEMBER_OBJECT [[gnu::visibility("default")]]

namespace contrail {
// The locks are other types where nothing records: translation units that share one must agree.
#if CONTRAIL_DETAIL_ENABLED
inline namespace v0 {
#else
inline namespace disabled_v0 {
#endif
namespace detail CONTRAIL_DETAIL_HIDDEN {

#if CONTRAIL_DETAIL_ENABLED

/// Whether a mutex holds its owner's thread id, as those of glibc do. Reading it when somebody has to wait costs
/// nothing when nobody has to.
template <class Mutex>
concept knows_owner = requires(Mutex& mutex) { mutex.native_handle()->__data.__owner; };

/// Who holds a lock: the thread's place in the recorder, from which a waiting thread finds its id.
template <class Mutex>
class CONTRAIL_DETAIL_MEMBER_OBJECT lock_holder {
 public:
  CONTRAIL_DETAIL_ALWAYS_INLINE void set() noexcept {
    __atomic_store_n(&frame_, reinterpret_cast<uint64_t>(next_frame), __ATOMIC_RELAXED);
  }
  CONTRAIL_DETAIL_ALWAYS_INLINE void clear() noexcept { __atomic_store_n(&frame_, uint64_t{0}, __ATOMIC_RELAXED); }
  /// 0: nobody, or a thread that has not recorded yet.
  CONTRAIL_DETAIL_HIDDEN uint32_t tid(Mutex&) const noexcept {
    const process_state* const process = joined_process();
    const uint64_t address = __atomic_load_n(&frame_, __ATOMIC_RELAXED);
    if (process == nullptr || address == 0 || process->recording.load_acquire() == 0) return 0;
    const image_view& image = *current_image(*process);
    const uint64_t slots = reinterpret_cast<uint64_t>(image.slots);
    if (address < slots || address >= slots + image.slot_count * sizeof(thread_slot)) return 0;
    const thread_slot& slot = image.slots[(address - slots) / sizeof(thread_slot)];
    return static_cast<uint32_t>(slot.tid_index.load_relaxed());
  }

 private:
  uint64_t frame_ = 0;
};

template <knows_owner Mutex>
class CONTRAIL_DETAIL_MEMBER_OBJECT lock_holder<Mutex> {
 public:
  CONTRAIL_DETAIL_ALWAYS_INLINE void set() noexcept {}
  CONTRAIL_DETAIL_ALWAYS_INLINE void clear() noexcept {}
  CONTRAIL_DETAIL_ALWAYS_INLINE uint32_t tid(Mutex& mutex) const noexcept {
    return static_cast<uint32_t>(__atomic_load_n(&mutex.native_handle()->__data.__owner, __ATOMIC_RELAXED));
  }
};

/// Whether the process is known to have no other thread.
CONTRAIL_DETAIL_ALWAYS_INLINE bool is_single_threaded() {
#if CONTRAIL_DETAIL_KNOWS_SINGLE_THREADED
  // Through a register: g++ would compare it where it lies, which makes a lock a tenth slower.
  unsigned is_single = static_cast<unsigned char>(__libc_single_threaded);
  asm("" : "+r"(is_single));
  return is_single != 0;
#else
  return false;
#endif
}

/// A deadline that has passed. glibc's locks with a deadline cost what its locks cost, and its try-locks one or two
/// nanoseconds more. Only to take a shared_mutex alone it is the other way round.
CONTRAIL_DETAIL_HIDDEN inline constexpr timespec long_ago{-1, 0};

/// Whether a shared_mutex is one of the system's locks. libstdc++'s says so with a void*.
template <class Mutex>
concept is_pthread_rwlock = std::is_same_v<Mutex, std::shared_mutex> && sizeof(Mutex) == sizeof(pthread_rwlock_t) &&
                            requires(Mutex& mutex) { static_cast<pthread_rwlock_t*>(mutex.native_handle()); };

/// Takes a mutex if it is free, as try_lock does, at the price of lock; whether it did.
template <class Mutex>
CONTRAIL_DETAIL_ALWAYS_INLINE bool take(Mutex& mutex) {
  if constexpr (std::is_same_v<Mutex, std::mutex>) {
    // Without another thread glibc's lock is not atomic, and cannot meet a mutex that is held. Of a plain mutex it has
    // no error to tell: not to ask makes up for asking whether there are threads.
    if (__builtin_expect(is_single_threaded(), 1)) {
      pthread_mutex_lock(mutex.native_handle());
      return true;
    }
    return pthread_mutex_timedlock(mutex.native_handle(), &long_ago) == 0;
  } else {
    return mutex.try_lock();
  }
}
/// The same for a share of it.
template <class Mutex>
CONTRAIL_DETAIL_ALWAYS_INLINE bool take_shared(Mutex& mutex) {
  if constexpr (is_pthread_rwlock<Mutex>) {
    return pthread_rwlock_timedrdlock(static_cast<pthread_rwlock_t*>(mutex.native_handle()), &long_ago) == 0;
  } else {
    return mutex.try_lock_shared();
  }
}

#else

template <class Mutex>
struct CONTRAIL_DETAIL_MEMBER_OBJECT lock_holder {
  CONTRAIL_DETAIL_ALWAYS_INLINE void set() noexcept {}
  CONTRAIL_DETAIL_ALWAYS_INLINE void clear() noexcept {}
  CONTRAIL_DETAIL_ALWAYS_INLINE uint32_t tid(Mutex&) const noexcept { return 0; }
};

// Nobody asks who waits.
template <class Mutex>
CONTRAIL_DETAIL_ALWAYS_INLINE bool take(Mutex& mutex) {
  return mutex.lock(), true;
}
template <class Mutex>
CONTRAIL_DETAIL_ALWAYS_INLINE bool take_shared(Mutex& mutex) {
  return mutex.lock_shared(), true;
}

#endif

}  // namespace detail

/// A mutex over `Mutex`, which may be any that has lock, try_lock and unlock. Usable with std::lock_guard and the like.
template <class Mutex>
class CONTRAIL_DETAIL_MEMBER_OBJECT basic_mutex {
 public:
  /// `name` stands in the records of waits; it must live as long as the mutex, as a literal does.
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr explicit basic_mutex(const char* name = "") noexcept : name_(name) {}
  basic_mutex(const basic_mutex&) = delete;
  basic_mutex& operator=(const basic_mutex&) = delete;

  CONTRAIL_DETAIL_HIDDEN void lock() {
    if (!detail::take(inner_)) wait();
    holder_.set();
  }
  CONTRAIL_DETAIL_HIDDEN bool try_lock() {
    if (!inner_.try_lock()) return false;
    holder_.set();
    return true;
  }
  CONTRAIL_DETAIL_HIDDEN void unlock() {
    holder_.clear();
    inner_.unlock();
  }

 private:
  friend class condition_variable;

  CONTRAIL_DETAIL_HIDDEN __attribute__((noinline)) void wait() {
    CONTRAIL_BLOCKED(sync, "wait for mutex", "mutex", name_, "held by", holder_.tid(inner_));
    inner_.lock();
  }

  Mutex inner_;
  [[no_unique_address]] detail::lock_holder<Mutex> holder_;
  const char* name_;
};
using mutex = basic_mutex<std::mutex>;

/// The same over std::shared_mutex. Of shared holders nothing is known but that there are some.
class CONTRAIL_DETAIL_MEMBER_OBJECT shared_mutex {
 public:
  CONTRAIL_DETAIL_ALWAYS_INLINE explicit shared_mutex(const char* name = "") noexcept : name_(name) {}
  shared_mutex(const shared_mutex&) = delete;
  shared_mutex& operator=(const shared_mutex&) = delete;

  CONTRAIL_DETAIL_HIDDEN void lock() {
    if (!detail::take(inner_)) wait();
    holder_.set();
  }
  CONTRAIL_DETAIL_HIDDEN bool try_lock() {
    if (!inner_.try_lock()) return false;
    holder_.set();
    return true;
  }
  CONTRAIL_DETAIL_HIDDEN void unlock() {
    holder_.clear();
    inner_.unlock();
  }
  CONTRAIL_DETAIL_HIDDEN void lock_shared() {
    if (!detail::take_shared(inner_)) wait_shared();
  }
  CONTRAIL_DETAIL_HIDDEN bool try_lock_shared() { return inner_.try_lock_shared(); }
  CONTRAIL_DETAIL_HIDDEN void unlock_shared() { inner_.unlock_shared(); }

 private:
  CONTRAIL_DETAIL_HIDDEN __attribute__((noinline)) void wait() {
    CONTRAIL_BLOCKED(sync, "wait for shared mutex", "mutex", name_, "held by", holder_.tid(inner_));
    inner_.lock();
  }
  CONTRAIL_DETAIL_HIDDEN __attribute__((noinline)) void wait_shared() {
    CONTRAIL_BLOCKED(sync, "wait to share mutex", "mutex", name_, "held by", holder_.tid(inner_));
    inner_.lock_shared();
  }

  std::shared_mutex inner_;
  [[no_unique_address]] detail::lock_holder<std::shared_mutex> holder_;
  const char* name_;
};

/// std::condition_variable for contrail::mutex. A wait is recorded if it waits: not where the predicate holds at once.
class CONTRAIL_DETAIL_MEMBER_OBJECT condition_variable {
  /// The mutex is nobody's while the thread waits.
  template <class Work>
  CONTRAIL_DETAIL_HIDDEN static auto with_inner(std::unique_lock<mutex>& lock, Work&& work) {
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
  CONTRAIL_DETAIL_ALWAYS_INLINE explicit condition_variable(const char* name = "") : name_(name) {}
  condition_variable(const condition_variable&) = delete;
  condition_variable& operator=(const condition_variable&) = delete;

  CONTRAIL_DETAIL_HIDDEN void notify_one() noexcept { inner_.notify_one(); }
  CONTRAIL_DETAIL_HIDDEN void notify_all() noexcept { inner_.notify_all(); }

  CONTRAIL_DETAIL_HIDDEN void wait(std::unique_lock<mutex>& lock) {
    CONTRAIL_BLOCKED(sync, "wait for condition", "condition", name_);
    with_inner(lock, [&](std::unique_lock<std::mutex>& inner) { inner_.wait(inner); });
  }
  template <class Predicate>
  void wait(std::unique_lock<mutex>& lock, Predicate stop) {
    while (!stop()) wait(lock);
  }
  template <class Clock, class Duration>
  CONTRAIL_DETAIL_HIDDEN std::cv_status wait_until(std::unique_lock<mutex>& lock,
                                                   const std::chrono::time_point<Clock, Duration>& deadline) {
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
