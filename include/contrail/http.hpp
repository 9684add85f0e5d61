// SPDX-License-Identifier: MIT
// Opt-in: dumps over HTTP, with any framework: a handler that takes a query and gives an answer.
//
//   server.Get("/trace", [](const Request& in, Response& out) {
//     contrail::http_trace(in.query, [&](contrail::http_answer&& answer) {
//       out.status = answer.status;
//       for (const auto& header : answer.headers) out.set_header(header.name, header.value);
//       out.body = std::move(answer.body);
//     });
//   });
//
//   curl -OJ 'http://localhost:8080/trace?last=5s'       the last 5 seconds
//   curl -OJ 'http://localhost:8080/trace?seconds=10'    the next 10 seconds
#ifndef CONTRAIL_HTTP_HPP
#define CONTRAIL_HTTP_HPP

#include "contrail/contrail.hpp"

#if CONTRAIL_DETAIL_ENABLED && defined(CONTRAIL_MACROS_ONLY)
#error "contrail/http.hpp needs all of contrail: leave out CONTRAIL_MACROS_ONLY in this translation unit."
#endif

#include <time.h>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if CONTRAIL_DETAIL_ENABLED
CONTRAIL_DETAIL_NAMESPACE_BEGIN
#else
namespace contrail {
inline namespace disabled_v0 {
#endif

struct http_header {
  std::string name, value;
};

/// What to send: 200 with a dump; or 400 bad value, 429 busy, 503 off or cancelled, with a sentence.
struct http_answer {
  int status = 200;
  std::vector<http_header> headers;
  std::string body;
};

#if CONTRAIL_DETAIL_ENABLED
namespace detail CONTRAIL_DETAIL_HIDDEN {
#else
namespace detail {
#endif

inline http_answer http_refusal(int status, const char* why) {
  http_answer answer{
      status, {{"Content-Type", "text/plain; charset=utf-8"}, {"X-Content-Type-Options", "nosniff"}}, why};
  answer.body += '\n';
  if (status == 429) answer.headers.push_back({"Retry-After", "1"});
  return answer;
}

}  // namespace detail

#if CONTRAIL_DETAIL_ENABLED

namespace detail CONTRAIL_DETAIL_HIDDEN {

/// A text's %XX and + as what they stand for.
inline std::string url_decoded(std::string_view text) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0) {
      plain += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
      i += 2;
    } else {
      plain += text[i] == '+' ? ' ' : text[i];
    }
  }
  return plain;
}

/// Finds a parameter; of several the first.
inline bool find_parameter(std::string_view query, std::string_view name, std::string& value) {
  if (!query.empty() && query.front() == '?') query.remove_prefix(1);
  while (!query.empty()) {
    const std::string_view one = query.substr(0, query.find('&'));
    query.remove_prefix(one.size() < query.size() ? one.size() + 1 : one.size());
    const std::string_view key = one.substr(0, one.find('='));
    if (url_decoded(key) != name) continue;
    value = key.size() < one.size() ? url_decoded(one.substr(key.size() + 1)) : std::string();
    return true;
  }
  return false;
}

inline constexpr int64_t longest_http_ns = 86'400'000'000'000;  // a day

/// "5s", "250ms", or seconds without a unit, above 0 and up to a day, in ns; 0 when it is none.
inline int64_t http_duration(const std::string& text) {
  const char* at = text.c_str();
  const char* const end = at + text.size();
  uint64_t whole = 0, scale = 1'000'000'000;
  bool any = false;
  for (; *at >= '0' && *at <= '9'; ++at, any = true) {
    whole = whole * 10 + static_cast<uint64_t>(*at - '0');
    if (whole > 100'000'000'000'000) return 0;
  }
  uint64_t fraction = 0, digits = 1;
  if (*at == '.') {
    for (++at; *at >= '0' && *at <= '9'; ++at, any = true) {
      if (digits >= 1'000'000'000) continue;
      fraction = fraction * 10 + static_cast<uint64_t>(*at - '0');
      digits *= 10;
    }
  }
  const std::string_view unit(at, static_cast<size_t>(end - at));
  if (unit == "ns")
    scale = 1;
  else if (unit == "us")
    scale = 1'000;
  else if (unit == "ms")
    scale = 1'000'000;
  else if (unit == "m" || unit == "min")
    scale = 60'000'000'000;
  else if (unit == "h")
    scale = 3'600'000'000'000;
  else if (unit != "s" && !unit.empty())
    return 0;
  const uint128 exact = static_cast<uint128>(whole) * scale + static_cast<uint128>(fraction) * scale / digits;
  return any && exact <= static_cast<uint128>(longest_http_ns) ? static_cast<int64_t>(exact) : 0;
}

/// What only one request does at a time.
class http_turn {
 public:
  explicit http_turn(atomic_word& turn) : turn_(turn) {
    const uint64_t self = static_cast<uint64_t>(getpid());
    uint64_t found = turn_.load_relaxed();
    // What a request of the parent had when this process was forked, nobody gives back here.
    taken_ = found != self && turn_.compare_exchange(found, self);
  }
  ~http_turn() {
    if (taken_) turn_.store_release(0);
  }
  http_turn(const http_turn&) = delete;
  http_turn& operator=(const http_turn&) = delete;
  bool taken() const { return taken_; }

 private:
  atomic_word& turn_;
  bool taken_;
};

CONTRAIL_DETAIL_HIDDEN inline constinit atomic_word http_waiting{};  ///< a request with ?seconds: its process
CONTRAIL_DETAIL_HIDDEN inline constinit atomic_word http_sending{};  ///< a request that holds a dump: likewise

inline void http_pause() {
  const timespec moment{0, 20'000'000};
  nanosleep(&moment, nullptr);
}

/// The answer for a dump that reaches back `last`.
inline http_answer http_dump(duration last) {
  http_answer answer;
  const error failed = flight_recorder::dump(answer.body, {last});
  if (failed) return http_refusal(failed.code() == error_code::busy ? 429 : 503, failed.message());
  const process_state& process = *joined_process();
  const image_view* const image = current_image(process);
  const char* const executable = image == nullptr ? "" : name_in_path(image->super->executable);
  std::string name;
  for (const char* at = executable; *at != '\0'; ++at) {
    // What a quoted string in a header cannot hold, and what a shell would make something of, is a file name's no more.
    const bool is_plain = (is_identifier(*at) && *at > 0 && *at != '$') || *at == '.' || *at == '-';
    name += is_plain ? *at : '_';
  }
  name += '-' + std::to_string(getpid()) + '-' + std::to_string(process.dump_count.load_relaxed()) + ".contrail";
  answer.headers = {{"Content-Type", "application/octet-stream"},
                    {"X-Content-Type-Options", "nosniff"},
                    {"Content-Disposition", "attachment; filename=\"" + name + '"'}};
  return answer;
}

}  // namespace detail

/// Answers a request for a dump. `query` is what follows '?' in its URL: "last=5s" for the window up to now,
/// "seconds=10" to record that much longer and get just that, nothing for all that memory holds. `sink` is called once,
/// with the http_answer, on this thread. `stop` is asked some 50 times a second while a request waits: true ends that,
/// for servers that shut down or see their client gone.
///
/// One request is served at a time: others get 429 until its sink has returned, so that the memory for dumps is bounded
/// until then, however many clients ask; what a sink keeps, to send it later, is the server's to bound. One more may be
/// waiting for its seconds to pass. Allocates: not in signal handlers.
template <class Sink, class Stop>
void http_trace(std::string_view query, Sink&& sink, Stop&& stop) {
  using namespace detail;
  const auto answer_with = [&](http_answer&& answer) { static_cast<void>(sink(std::move(answer))); };
  std::string text;
  const bool has_last = find_parameter(query, "last", text);
  const int64_t last_ns = has_last ? http_duration(text) : 0;
  if (has_last && last_ns == 0) {
    return answer_with(http_refusal(400, "last takes a time above 0 and up to a day: last=5s, last=250ms, last=2m."));
  }
  const bool has_seconds = find_parameter(query, "seconds", text);
  const int64_t seconds_ns = has_seconds ? http_duration(text) : 0;
  if (has_seconds && seconds_ns == 0) {
    return answer_with(http_refusal(400, "seconds takes a number above 0 and up to 86400: seconds=10, seconds=0.5."));
  }
  if (has_seconds && has_last) return answer_with(http_refusal(400, "Ask for last or for seconds, not for both."));
  const process_state* const process = join_process();
  if (process == nullptr) return answer_with(http_refusal(503, incompatible().message()));
  if (process->recording.load_acquire() == 0) return answer_with(http_refusal(503, not_running().message()));

  const char* const busy = "Another dump is on its way; try again when it is done.";
  if (has_seconds) {
    const http_turn waiting(http_waiting);
    if (!waiting.taken()) return answer_with(http_refusal(429, busy));
    const uint64_t begin = kernel_clock_ns(CLOCK_MONOTONIC);
    const auto waited = [begin] { return static_cast<int64_t>(kernel_clock_ns(CLOCK_MONOTONIC) - begin); };
    while (waited() < seconds_ns) {
      if (stop()) return answer_with(http_refusal(503, "The request was cancelled."));
      if (process->recording.load_acquire() == 0) return answer_with(http_refusal(503, not_running().message()));
      const int64_t rest = seconds_ns - waited();
      if (rest > 20'000'000)
        http_pause();
      else if (rest > 0) {
        const timespec moment{0, static_cast<long>(rest)};
        nanosleep(&moment, nullptr);
      }
    }
    // Who has waited that long is not sent away because somebody else came first.
    for (;;) {
      const http_turn sending(http_sending);
      if (sending.taken()) {
        http_answer answer = http_dump(duration(waited()));
        if (answer.status != 429) return answer_with(std::move(answer));
      }
      if (stop() || waited() > seconds_ns + 5'000'000'000) return answer_with(http_refusal(429, busy));
      http_pause();
    }
  }
  const http_turn sending(http_sending);
  if (!sending.taken()) return answer_with(http_refusal(429, busy));
  answer_with(http_dump(duration(last_ns)));
}

#else

template <class Sink, class Stop>
void http_trace(std::string_view, Sink&& sink, Stop&&) {
  sink(detail::http_refusal(503, detail::nothing_records().message()));
}

#endif

/// The same without a way to end it early.
template <class Sink>
void http_trace(std::string_view query, Sink&& sink) {
  http_trace(query, std::forward<Sink>(sink), [] { return false; });
}

#if CONTRAIL_DETAIL_ENABLED
CONTRAIL_DETAIL_NAMESPACE_END
#else
}  // namespace disabled_v0
}  // namespace contrail
#endif

#endif
