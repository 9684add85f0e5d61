// SPDX-License-Identifier: MIT
// Log lines that cost nanoseconds: only the values are recorded, the text is made by the converter. Including
// contrail/fmt.hpp lets fmt check each format string against its arguments while compiling.
//
// Prints:
//   wrote 05_logs.contrail
// Records: "connected to db-1:5432 in 1.50 ms", "retry 3 of 5", "retry 5 of 5", "0x00ff is 11111111", "connect"
#include <contrail/contrail.hpp>
#include <contrail/fmt.hpp>

#include <cstdio>
#include <string>

void connect(const std::string& host, int port) {
  TRACE_REGION("connect");
  for (int attempt = 1; attempt <= 5; ++attempt) TRACE_LOG("retry {} of {}", attempt, 5);
  TRACE_LOG("connected to {}:{} in {:.2f} ms", host, port, 1.5);
  // TRACE_LOG("port {:s}", port);   does not compile: an int is not text
}

int main() {
  if (auto error = contrail::flight_recorder::start()) {
    std::fprintf(stderr, "cannot record: %s\n", error.message());
    return 1;
  }

  connect("db-1", 5432);
  TRACE_LOG("{0:#06x} is {0:b}", 255);

  if (auto error = contrail::flight_recorder::dump("05_logs.contrail")) {
    std::fprintf(stderr, "cannot write the dump: %s\n", error.message());
    return 1;
  }
  std::printf("wrote 05_logs.contrail\n");
}
