// SPDX-License-Identifier: MIT
// A few workers that encrypt for many connections. The queue between them is short on purpose: whoever is too fast
// waits, and memory stays constant.
#ifndef SERVER_ENCRYPTION_POOL_HPP
#define SERVER_ENCRYPTION_POOL_HPP

#include "channel.hpp"
#include "encryption.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <future>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace crypto {

class encryption_pool {
 public:
  encryption_pool(const secret_key& key, int workers) : key_(key) {
    for (int number = 0; number < workers; ++number) threads_.emplace_back([this, number] { work(number); });
  }

  /// All callers of encrypt have returned by now: the HTTP service stops first.
  ~encryption_pool() {
    jobs_.close();
    for (auto& thread : threads_) thread.join();
  }

  encryption_pool(const encryption_pool&) = delete;
  encryption_pool& operator=(const encryption_pool&) = delete;

  /// Waits until a worker has encrypted the text. Throws what went wrong there. What the worker does for it belongs to
  /// the task `on_behalf`.
  sealed_message encrypt(std::string_view plain, const contrail::task_context& on_behalf = {}) {
    const auto now = std::chrono::steady_clock::now();
    job work{next_number_.fetch_add(1), plain, now, on_behalf, contrail::flow::begin(), {}};
    std::future<sealed_message> result = work.result.get_future();
    {
      TRACE_REGION("submit job", "job", work.number, "to", work.arrow.out());
      // The job stays on this stack: the wait below outlives it.
      if (!jobs_.send(&work)) throw std::runtime_error("the encryption workers have stopped");
      TRACE_COUNTER("jobs waiting", jobs_.size());
    }
    TRACE_BLOCKED(sync, "wait for worker", "job", work.number);
    return result.get();
  }

  /// Decryption is rare: no worker, the caller does it.
  std::optional<std::string> decrypt(const sealed_message& sealed) const { return open(key_, sealed); }

 private:
  struct job {
    std::uint64_t number;
    std::string_view plain;
    std::chrono::steady_clock::time_point submitted;
    contrail::task_context on_behalf;
    contrail::flow arrow;
    std::promise<sealed_message> result;
  };

  void work(int number) {
    TRACE_THREAD_NAME("encrypt " + std::to_string(number));
    while (const auto next = jobs_.receive()) {
      TRACE_COUNTER("jobs waiting", jobs_.size());
      job& current = **next;
      // The caller frees the job as soon as it has the result: take what outlives that.
      std::promise<sealed_message> result = std::move(current.result);
      const auto queued = std::chrono::steady_clock::now() - current.submitted;
      const std::size_t bytes = current.plain.size();

      const contrail::task_scope scope(current.on_behalf);
      TRACE_REGION("encrypt", encryption_job{current.number, queued, current.arrow.in()});
      try {
        sealed_message sealed = seal(key_, current.plain);
        TRACE_COUNTER("encrypted bytes", encrypted_bytes_.fetch_add(bytes) + bytes);
        result.set_value(std::move(sealed));
      } catch (const std::exception& problem) {
        TRACE_LOG("job failed after {} bytes: {}", bytes, problem.what());
        result.set_exception(std::current_exception());
      }
    }
  }

  const secret_key key_;
  channels::channel<job*> jobs_{8, "room for a job", "a job"};
  std::atomic<std::uint64_t> next_number_{1};
  std::atomic<std::uint64_t> encrypted_bytes_{0};
  std::vector<std::thread> threads_;
};

}  // namespace crypto

#endif
