// SPDX-License-Identifier: MIT
// A bounded queue between threads: send waits while it is full, receive waits while it is empty.
#ifndef SERVER_CHANNEL_HPP
#define SERVER_CHANNEL_HPP

#include "trace_events.hpp"

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

namespace channels {

/// Any number of threads may send and receive at the same time.
template <class T>
class channel {
 public:
  explicit channel(std::size_t capacity) : capacity_(capacity) {}

  /// Waits for room. False: the channel is closed, and the value is dropped.
  bool send(T value) {
    {
      std::unique_lock lock = acquire();
      if (values_.size() >= capacity_ && !closed_) {
        TRACE_REGION("channel full");
        room_.wait(lock, [&] { return values_.size() < capacity_ || closed_; });
      }
      if (closed_) return false;
      values_.push_back(std::move(value));
    }
    filled_.notify_one();
    return true;
  }

  /// Waits for a value. Nothing: the channel is closed and everything sent before has been received.
  std::optional<T> receive() {
    std::optional<T> value;
    {
      std::unique_lock lock = acquire();
      if (values_.empty() && !closed_) {
        TRACE_REGION("channel empty");
        filled_.wait(lock, [&] { return !values_.empty() || closed_; });
      }
      if (values_.empty()) return std::nullopt;
      value.emplace(std::move(values_.front()));
      values_.pop_front();
    }
    room_.notify_one();
    return value;
  }

  /// Wakes everybody. Values that were sent before can still be received.
  void close() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    filled_.notify_all();
    room_.notify_all();
  }

  /// How many values wait, a moment ago.
  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return values_.size();
  }

 private:
  // The region shows how contended the channel is; an uncontended lock takes the fast path and records nothing.
  std::unique_lock<std::mutex> acquire() {
    std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) {
      TRACE_REGION("channel contended");
      lock.lock();
    }
    return lock;
  }

  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable filled_;
  std::condition_variable room_;
  std::deque<T> values_;
  bool closed_ = false;
};

}  // namespace channels

#endif
