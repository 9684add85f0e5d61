// SPDX-License-Identifier: MIT
// Two teams compete for two balls in a channel with room for one, and for the goal. Only the fastest player catches a
// ball, and who has one waits until the goal is free. The scores are counters; the timeline shows who waits for whom,
// and by arrows where each ball went.
#ifndef SERVER_CHANNEL_GAME_HPP
#define SERVER_CHANNEL_GAME_HPP

#include "channel.hpp"
#include "trace_events.hpp"

#include <contrail/blocking.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace game {

class channel_game {
 public:
  channel_game() {
    for (int number = 0; number < players; ++number) threads_.emplace_back([this, number] { play(number); });
    for (int number = 0; number < balls; ++number) court_.send({number, 0, {}});
  }

  ~channel_game() {
    court_.close();
    for (auto& thread : threads_) thread.join();
  }

  channel_game(const channel_game&) = delete;
  channel_game& operator=(const channel_game&) = delete;

 private:
  static constexpr int players = 4;
  static constexpr int balls = 2;  // fewer than players, or all could hold a ball and nobody make room

  struct ball {
    int number;
    std::uint64_t passes;
    contrail::flow arrow;
  };

  void play(int number) {
    const team side = number % 2 == 0 ? team::red : team::blue;
    TRACE_THREAD_NAME((side == team::red ? "red player " : "blue player ") + std::to_string(number));
    std::minstd_rand random(static_cast<unsigned>(number) + 1);
    std::uniform_int_distribution<int> aim_us(200, 1500);

    while (auto caught = court_.receive()) {
      TRACE_EMIT(ball_caught{number, side, caught->number, caught->passes});
      score(side);
      {
        std::lock_guard one_at_a_time(goal_);
        TRACE_REGION("aim", "ball", caught->number, "from", caught->arrow.in());
        std::this_thread::sleep_for(std::chrono::microseconds(aim_us(random)));
      }
      const contrail::flow arrow = contrail::flow::begin();
      TRACE_REGION("pass", "ball", caught->number, "to", arrow.out());
      if (!court_.send({caught->number, caught->passes + 1, arrow})) break;
    }
  }

  // A counter's name belongs to its place in the program, so each team has a line of its own.
  void score(team side) {
    if (side == team::red) {
      TRACE_COUNTER("score of red", red_.fetch_add(1, std::memory_order_relaxed) + 1);
    } else {
      TRACE_COUNTER("score of blue", blue_.fetch_add(1, std::memory_order_relaxed) + 1);
    }
  }

  channels::channel<ball> court_{1, "room on the court", "a ball"};
  contrail::mutex goal_{"goal"};
  std::atomic<std::uint64_t> red_{0};
  std::atomic<std::uint64_t> blue_{0};
  std::vector<std::thread> threads_;
};

}  // namespace game

#endif
