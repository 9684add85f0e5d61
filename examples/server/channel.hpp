// SPDX-License-Identifier: MIT
// A bounded queue between threads: send waits while it is full, receive waits while it is empty. Its lock and its
// conditions are contrail's, so that the trace shows who waits, for what, and for whom.
#ifndef SERVER_CHANNEL_HPP
#define SERVER_CHANNEL_HPP

#include <contrail/blocking.hpp>

#include <atomic>
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
  /// The names stand in the trace where a thread waits for room or for a value.
  explicit channel(std::size_t capacity, const char* room = "room", const char* value = "value")
      : capacity_(capacity), filled_(value), room_(room) {}

  /// Waits for room. False: the channel is closed, and the value is dropped.
  bool send(T value) {
    {
      std::unique_lock lock(mutex_);
      room_.wait(lock, [&] { return values_.size() < capacity_ || closed_; });
      if (closed_) return false;
      values_.push_back(std::move(value));
      size_.store(values_.size(), std::memory_order_relaxed);
    }
    filled_.notify_one();
    return true;
  }

  /// Waits for a value. Nothing: the channel is closed and everything sent before has been received.
  std::optional<T> receive() {
    std::optional<T> value;
    {
      std::unique_lock lock(mutex_);
      filled_.wait(lock, [&] { return !values_.empty() || closed_; });
      if (values_.empty()) return std::nullopt;
      value.emplace(std::move(values_.front()));
      values_.pop_front();
      size_.store(values_.size(), std::memory_order_relaxed);
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

  /// How many values wait, a moment ago. Takes no lock: who only watches does not hold up those who work.
  std::size_t size() const { return size_.load(std::memory_order_relaxed); }

 private:
  const std::size_t capacity_;
  contrail::mutex mutex_{"channel"};
  contrail::condition_variable filled_;
  contrail::condition_variable room_;
  std::deque<T> values_;
  std::atomic<std::size_t> size_{0};  ///< of values_
  bool closed_ = false;
};

}  // namespace channels

#endif
