// SPDX-License-Identifier: MIT
// The threads that serve connections. cpp-httplib hands each accepted connection to enqueue; one thread keeps it until
// it is closed.
#ifndef SERVER_CONNECTION_POOL_HPP
#define SERVER_CONNECTION_POOL_HPP

#include "channel.hpp"
#include "trace_events.hpp"

#include <httplib.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace http {

class connection_pool final : public httplib::TaskQueue {
 public:
  explicit connection_pool(int threads) {
    for (int number = 0; number < threads; ++number) threads_.emplace_back([this, number] { serve(number); });
  }

  /// Runs on the accepting thread. When too many connections wait already, it waits too, and the kernel holds the rest.
  void enqueue(std::function<void()> connection) override {
    TRACE_REGION("accept");
    waiting_.send(std::move(connection));
    TRACE_COUNTER("connections waiting", waiting_.size());
  }

  /// Returns when all connections are closed.
  void shutdown() override {
    TRACE_FUNCTION();
    waiting_.close();
    for (auto& thread : threads_) thread.join();
  }

 private:
  void serve(int number) {
    TRACE_THREAD_NAME("http " + std::to_string(number));
    while (const auto connection = waiting_.receive()) {
      TRACE_COUNTER("connections open", ++open_);
      {
        TRACE_REGION("connection");
        (*connection)();
      }
      TRACE_COUNTER("connections open", --open_);
    }
  }

  channels::channel<std::function<void()>> waiting_{64, "room for a connection", "a connection"};
  std::atomic<int> open_{0};
  std::vector<std::thread> threads_;
};

}  // namespace http

#endif
