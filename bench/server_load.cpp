// SPDX-License-Identifier: MIT
// Keeps the example server busy: some connections at a time, each sends its next request when it has the answer.
//   bench_server_load PORT REQUESTS [CONNECTIONS] [BYTES]     prints the seconds that it took
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

constexpr int requests_of_a_connection = 200;  // then the server closes it

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

class connection {
 public:
  explicit connection(uint16_t port) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail("connect");
    const int on = 1;
    setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  ~connection() { close(socket_); }
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;

  /// False: the server had closed the connection, as it does with one that was idle for a second.
  bool ask(std::string_view request) {
    if (send(socket_, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size())) return false;
    answer_.clear();
    size_t wanted = std::string::npos;
    while (answer_.size() < wanted) {
      char piece[8192];
      const ssize_t bytes = recv(socket_, piece, sizeof piece, 0);
      if (bytes <= 0 && answer_.empty()) return false;
      if (bytes <= 0) fail("recv");
      answer_.append(piece, static_cast<size_t>(bytes));
      const size_t head = answer_.find("\r\n\r\n");
      if (head == std::string::npos) continue;
      const size_t length = answer_.find("Content-Length: ");
      if (length > head || !answer_.starts_with("HTTP/1.1 200")) fail("the server refused");
      wanted = head + 4 + std::strtoul(answer_.c_str() + length + 16, nullptr, 10);
    }
    return true;
  }

 private:
  int socket_;
  std::string answer_;
};

double seconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) return 2;
  const auto port = static_cast<uint16_t>(std::atoi(arguments[1]));
  std::atomic<int> left{std::atoi(arguments[2])};
  const int connections = count > 3 ? std::atoi(arguments[3]) : 4;
  const std::string body(count > 4 ? std::strtoul(arguments[4], nullptr, 10) : 1024, 'x');
  const std::string request = "POST /encrypt HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: " +
                              std::to_string(body.size()) + "\r\n\r\n" + body;
  const double begin = seconds();
  std::vector<std::thread> threads;
  for (int i = 0; i < connections; ++i) {
    threads.emplace_back([&] {
      while (left > 0) {
        connection to(port);
        for (int sent = 0; sent < requests_of_a_connection && left-- > 0; ++sent) {
          if (to.ask(request)) continue;
          ++left;
          break;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::printf("%.6f\n", seconds() - begin);
}
