// SPDX-License-Identifier: MIT
// What the server traces: one category per namespace, and the events that carry more than one value. Their fields are
// found by Boost.PFR, so the structs are all there is to write. Everything else is named where it happens.
#ifndef SERVER_TRACE_EVENTS_HPP
#define SERVER_TRACE_EVENTS_HPP

#include <contrail/contrail.hpp>
#include <contrail/fmt.hpp>
#include <contrail/pfr.hpp>

#include <chrono>
#include <cstdint>

namespace http {
TRACE_CATEGORY("http");

/// A response left the server.
struct response_sent {
  const char* path;
  int status;
  std::uint64_t bytes;
};
TRACE_EVENT_TYPE(response_sent);
}  // namespace http

namespace crypto {
TRACE_CATEGORY("crypto");

/// A worker has taken a message.
struct encryption_job {
  std::uint64_t job;
  std::chrono::nanoseconds queued;
  contrail::flow_in from;
};
TRACE_EVENT_TYPE(encryption_job);
}  // namespace crypto

namespace game {
TRACE_CATEGORY("game");

enum class team { red, blue };

/// A player got hold of a ball before all the others.
struct ball_caught {
  int player;
  game::team team;
  int ball;
  std::uint64_t passes;
};
TRACE_EVENT_TYPE(ball_caught);
}  // namespace game

#endif
