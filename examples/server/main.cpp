// SPDX-License-Identifier: MIT
// A server that does real work and can always say what it did last: it encrypts over HTTP while two teams of threads
// compete for a channel. Prints where it listens, then serves until SIGINT or SIGTERM.
//
//   server --port 8080
//   curl 'http://127.0.0.1:8080/encrypt?text=hello'
//   curl -o server.contrail 'http://127.0.0.1:8080/trace?last=5s'
//   kill -USR2 PID                      writes server-PID-N.contrail
//   server --stream run.contrail        writes all of it, until interrupted
//   server --slow 250                   writes server-slow-PID-N.contrail when a request takes longer than 250 ms
#include "channel_game.hpp"
#include "encryption_pool.hpp"
#include "http_service.hpp"
#include "trace_events.hpp"

#include <contrail/session.hpp>
#include <contrail/trigger.hpp>

#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <malloc.h>
#include <optional>
#include <string>
#include <string_view>
#include <unistd.h>

namespace {

struct settings {
  std::string host = "127.0.0.1";
  int port = 8080;
  int slow_ms = 0;
  std::string dump_path = "server-%p-%n.contrail";
  std::string stream_path;
  bool trace = true;
};

constexpr const char* usage =
    "usage: server [--port N] [--host ADDRESS] [--dump PATH] [--stream PATH] [--slow MS]\n"
    "              [--no-trace]\n"
    "  --port N        0 takes any free port (default 8080)\n"
    "  --host ADDRESS  where to listen (default 127.0.0.1: only this machine)\n"
    "  --dump PATH     what SIGUSR2 writes (default server-%p-%n.contrail: pid and number)\n"
    "  --stream PATH   all that is recorded goes there until the server stops\n"
    "  --slow MS       writes server-slow-%p-%n.contrail when a request takes longer\n"
    "  --no-trace      record nothing, for comparison\n";

/// Whether the text is a number up to `most`, which it then is.
bool take_number(std::string_view text, int most, int& number) {
  const char* const end = text.data() + text.size();
  const auto [rest, problem] = std::from_chars(text.data(), end, number);
  return problem == std::errc() && rest == end && number >= 0 && number <= most;
}

/// Nothing: the arguments make no sense.
std::optional<settings> parse(int count, char** arguments) {
  settings chosen;
  for (int i = 1; i < count; ++i) {
    const std::string_view option = arguments[i];
    if (option == "--no-trace") {
      chosen.trace = false;
      continue;
    }
    if (++i == count) return std::nullopt;
    const std::string_view value = arguments[i];
    if (option == "--host") {
      chosen.host = value;
    } else if (option == "--dump") {
      chosen.dump_path = value;
    } else if (option == "--stream") {
      chosen.stream_path = value;
    } else if (option == "--port") {
      if (!take_number(value, 65535, chosen.port)) return std::nullopt;
    } else if (option == "--slow") {
      if (!take_number(value, 3'600'000, chosen.slow_ms)) return std::nullopt;
    } else {
      return std::nullopt;
    }
  }
  return chosen;
}

/// Keeps the memory of finished requests for the next ones. By itself the heap gives a message's buffers back to the
/// system, and a request of 64 KiB takes 80 page faults to get them again: a third of its time.
void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
#endif
}

/// SIGINT and SIGTERM, blocked in this thread and all that it starts, so that main can wait for them.
sigset_t block_stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

bool start_recorder(const std::string& dump_path) {
  using contrail::flight_recorder;
  // Touched beforehand, so that no request pays for the page that it is the first to write to.
  contrail::error error = flight_recorder::start({.memory = 64 << 20, .prefault = true});
  if (!error) error = flight_recorder::dump_on_signal(SIGUSR2, dump_path.c_str());
  if (error) std::fprintf(stderr, "server: cannot record: %s\n", error.message());
  return !error;
}

bool start_stream(contrail::session& stream, const std::string& path) {
  if (path.empty()) return true;
  const contrail::error error = stream.start({.file = path.c_str()});
  if (error) std::fprintf(stderr, "server: cannot stream: %s\n", error.message());
  return !error;
}

/// The newest eight dumps stay.
bool start_trigger(contrail::trigger& slow, int budget_ms) {
  if (budget_ms == 0) return true;
  contrail::error error = slow.latency("*/encrypt,*/decrypt", std::chrono::milliseconds(budget_ms));
  if (!error) error = slow.start();
  if (error) std::fprintf(stderr, "server: cannot watch for slow requests: %s\n", error.message());
  return !error;
}

bool stop_stream(contrail::session& stream) {
  if (!stream.is_running() && !stream.status().failed) return true;  // nobody asked for one
  const contrail::session_result result = stream.stop();
  std::printf("streamed %llu bytes, lost %llu records\n", static_cast<unsigned long long>(result.bytes),
              static_cast<unsigned long long>(result.lost_records));
  if (result.failed) std::fprintf(stderr, "server: the stream ended early: %s\n", result.failed.message());
  return !result.failed;
}

int serve(const settings& chosen) {
  const sigset_t stop_signals = block_stop_signals();
  if (chosen.trace && !start_recorder(chosen.dump_path)) return 1;
  contrail::session stream;
  if (chosen.trace && !start_stream(stream, chosen.stream_path)) return 1;
  contrail::trigger slow({.path = "server-slow-%p-%n.contrail", .after = std::chrono::milliseconds(100)});
  if (chosen.trace && !start_trigger(slow, chosen.slow_ms)) return 1;
  TRACE_THREAD_NAME("main");

  crypto::encryption_pool encryption(crypto::random_key(), 2);
  http::http_service service(encryption);
  const std::optional<int> port = service.bind(chosen.host, chosen.port);
  if (!port) {
    std::fprintf(stderr, "server: cannot listen on %s:%d\n", chosen.host.c_str(), chosen.port);
    return 1;
  }

  game::channel_game game;
  service.start();
  std::printf("listening on http://%s:%d (pid %d)\n", chosen.host.c_str(), *port, static_cast<int>(getpid()));
  std::fflush(stdout);

  int signal = 0;
  sigwait(&stop_signals, &signal);
  std::printf("stopping\n");
  service.stop();
  return stop_stream(stream) ? 0 : 1;
}

}  // namespace

int main(int argument_count, char** arguments) {
  const std::optional<settings> chosen = parse(argument_count, arguments);
  if (!chosen) {
    std::fputs(usage, stderr);
    return 2;
  }
  keep_freed_memory();
  try {
    return serve(*chosen);
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "server: %s\n", problem.what());
    return 1;
  }
}
