// SPDX-License-Identifier: MIT
// The HTTP side of the server: GET and POST /encrypt, POST /decrypt, GET /trace, and a page that explains them.
#ifndef SERVER_HTTP_SERVICE_HPP
#define SERVER_HTTP_SERVICE_HPP

#include "connection_pool.hpp"
#include "encryption_pool.hpp"
#include "message_text.hpp"
#include "trace_events.hpp"

#include <contrail/http.hpp>
#include <httplib.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace http {

inline constexpr std::string_view help_page =
    "GET  /encrypt?text=hello   encrypts the text with AES-256-GCM: nonce.tag.ciphertext in hex\n"
    "POST /encrypt              encrypts the request's body, up to 1 MiB\n"
    "POST /decrypt              gives back what /encrypt made\n"
    "GET  /trace?last=5s        what the server did in the last seconds: a dump for tools/contrail.py\n"
    "GET  /trace?seconds=10     what it does in the next seconds\n";

/// The distribution's build of cpp-httplib lets five connections wait to be accepted. Each one more is dropped, and its
/// client tries again a second later.
class patient_server : public httplib::Server {
 public:
  void let_more_connections_wait() { ::listen(svr_sock_, SOMAXCONN); }
};

class http_service {
 public:
  explicit http_service(crypto::encryption_pool& encryption) : encryption_(encryption) {
    server_.new_task_queue = [] { return new connection_pool(connection_threads); };  // the server deletes it
    server_.set_payload_max_length(max_body_bytes);
    server_.set_keep_alive_max_count(200);  // then the connection's thread goes to whoever waits longest
    server_.set_keep_alive_timeout(1);      // seconds; also the longest that stop() waits for an idle connection
    server_.set_tcp_nodelay(true);          // header and body are two small writes

    server_.Get("/", [](const request&, response& out) { out.set_content(std::string(help_page), "text/plain"); });
    server_.Get("/encrypt", [this](const request& in, response& out) { get_encrypt(in, out); });
    server_.Post("/encrypt", [this](const request& in, response& out, const reader& body) {
      post_encrypt(in, out, body);
    });
    server_.Post("/decrypt", [this](const request& in, response& out, const reader& body) {
      post_decrypt(in, out, body);
    });
    server_.Get("/trace", [this](const request& in, response& out) { get_trace(in, out); });

    server_.set_logger([](const request& in, const response& out) {  // called after each response
      TRACE_EMIT(response_sent{in.path.c_str(), out.status, out.body.size()});
    });
    server_.set_exception_handler([](const request& in, response& out, std::exception_ptr problem) {
      explain(in, out, problem);
    });
  }

  /// Port 0 takes any free one. Returns the port, or nothing when it cannot be had.
  std::optional<int> bind(const std::string& host, int port) {
    if (port == 0) {
      port = server_.bind_to_any_port(host);
    } else if (!server_.bind_to_port(host, port)) {
      port = -1;
    }
    if (port < 0) return std::nullopt;
    server_.let_more_connections_wait();
    return port;
  }

  /// Serves on a thread of its own until stop().
  void start() {
    thread_ = std::thread([this] {
      TRACE_THREAD_NAME("accept");
      server_.listen_after_bind();
    });
    // stop() does nothing before the server runs.
    while (!server_.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  /// Finishes the requests that are being served.
  void stop() {
    stopping_ = true;
    server_.stop();
    thread_.join();
  }

 private:
  using request = httplib::Request;
  using response = httplib::Response;
  using reader = httplib::ContentReader;

  static constexpr int connection_threads = 96;  // an idle connection keeps its thread for a second
  static constexpr std::size_t max_body_bytes = 1 << 20;

  /// A caller that sends a traceparent has the request in its own trace.
  static contrail::task_context caller_of(const request& in) {
    const auto header = in.headers.find("traceparent");
    if (header == in.headers.end()) return {};
    return contrail::task_context::from_traceparent(header->second.c_str());
  }

  void get_encrypt(const request& in, response& out) {
    TRACE_TASK_OF(task, caller_of(in), "encrypt request");
    const contrail::task_scope scope(task);
    TRACE_REGION_VAR(region, "GET /encrypt");
    const std::string text = in.has_param("text") ? in.get_param_value("text") : "Attack at dawn.";
    respond_encrypted(text, out, task.context());
    region.set("status", out.status);
  }

  void post_encrypt(const request& in, response& out, const reader& body) {
    TRACE_TASK_OF(task, caller_of(in), "encrypt request");
    const contrail::task_scope scope(task);
    TRACE_REGION_VAR(region, "POST /encrypt");
    if (const auto text = read_body(in, out, body)) respond_encrypted(*text, out, task.context());
    region.set("status", out.status);
  }

  void post_decrypt(const request& in, response& out, const reader& body) {
    TRACE_TASK_OF(task, caller_of(in), "decrypt request");
    const contrail::task_scope scope(task);
    TRACE_REGION_VAR(region, "POST /decrypt");
    if (const auto text = read_body(in, out, body)) {
      const auto sealed = crypto::from_text(*text);
      const auto plain = sealed ? encryption_.decrypt(*sealed) : std::nullopt;
      if (plain) {
        out.set_content(*plain, "application/octet-stream");
        out.status = 200;
      } else {
        refuse(out, 400, "this was not made by /encrypt of this server, or it was altered on the way");
      }
    }
    region.set("status", out.status);
  }

  void get_trace(const request& in, response& out) {
    TRACE_REGION_VAR(region, "GET /trace");
    const std::size_t query = in.target.find('?');
    contrail::http_trace(
        query == std::string::npos ? std::string_view() : std::string_view(in.target).substr(query + 1),
        [&out](contrail::http_answer&& answer) {
          out.status = answer.status;
          for (const contrail::http_header& header : answer.headers) out.set_header(header.name, header.value);
          out.body = std::move(answer.body);
        },
        [this] { return stopping_.load(); });  // who asked for many seconds does not hold up the end
    region.set("status", out.status);
    region.set("bytes", out.body.size());
  }

  void respond_encrypted(std::string_view text, response& out, const contrail::task_context& task) {
    out.set_content(crypto::to_text(encryption_.encrypt(text, task)), "text/plain");
    out.status = 200;
  }

  /// Nothing: the response already says why.
  static std::optional<std::string> read_body(const request& in, response& out, const reader& body) {
    TRACE_REGION_VAR(region, "read body");
    if (in.is_multipart_form_data()) {
      refuse(out, 415, "send the bare text, not a form with parts");
      return std::nullopt;
    }
    std::string text;
    const bool complete = body([&text](const char* data, std::size_t length) {
      text.append(data, length);
      return true;
    });
    region.set("bytes", text.size());
    if (!complete) return std::nullopt;  // too long or broken off: cpp-httplib has set the status
    return text;
  }

  static void refuse(response& out, int status, std::string_view why) {
    TRACE_LOG("refused with {}: {}", status, why);
    out.status = status;
    out.set_content(std::string(why) + '\n', "text/plain");
  }

  static void explain(const request& in, response& out, std::exception_ptr problem) {
    try {
      std::rethrow_exception(problem);
    } catch (const std::exception& exception) {
      TRACE_LOG("{} failed: {}", in.path, exception.what());
    } catch (...) {
      TRACE_LOG("{} failed", in.path);
    }
    refuse(out, 500, "something went wrong here; the trace knows more");
  }

  crypto::encryption_pool& encryption_;
  patient_server server_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace http

#endif
