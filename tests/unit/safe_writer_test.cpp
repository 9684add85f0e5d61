// SPDX-License-Identifier: MIT
#include "contrail/detail/safe_writer.hpp"

#include "catch.hpp"

#include <fcntl.h>
#include <pthread.h>

#include <csignal>
#include <string>
#include <thread>

using namespace contrail::detail;

TEST_CASE("a text that does not fit is cut, ends, and says so") {
  char buffer[8];
  text_writer writer(buffer, sizeof buffer);
  writer.add("abc").add(uint64_t{123});
  CHECK(std::string(buffer) == "abc123");
  CHECK_FALSE(writer.cut());
  writer.add("45678");
  CHECK(std::string(buffer) == "abc1234");
  CHECK(writer.cut());
  CHECK(writer.size() == 7);
}

TEST_CASE("numbers are written in full") {
  char buffer[32];
  CHECK(text_writer(buffer, sizeof buffer).add(uint64_t{0}).size() == 1);
  CHECK(std::string(buffer) == "0");
  text_writer(buffer, sizeof buffer).add(~uint64_t{0});
  CHECK(std::string(buffer) == "18446744073709551615");
}

TEST_CASE("errno is put back at the end of a scope") {
  errno = 5;
  {
    const errno_keeper keep;
    errno = 6;
  }
  CHECK(errno == 5);
}

TEST_CASE("everything is written although signals interrupt and the pipe is small") {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  struct sigaction action {};
  action.sa_handler = [](int) {};  // without SA_RESTART
  sigaction(SIGUSR1, &action, nullptr);
  const std::string sent(1 << 20, 'x');
  std::string received;
  const pthread_t writer = pthread_self();
  std::thread reader([&] {
    char part[4096];
    for (ssize_t size; (size = read(ends[0], part, sizeof part)) > 0;) {
      received.append(part, static_cast<size_t>(size));
      pthread_kill(writer, SIGUSR1);
    }
  });
  CHECK(write_all(ends[1], sent.data(), sent.size()) == 0);
  close(ends[1]);
  reader.join();
  close(ends[0]);
  CHECK(received == sent);
}

TEST_CASE("what the system refuses is returned") {
  CHECK(write_all(-1, "x", 1) == EBADF);
  CHECK(write_all(-1, "", 0) == 0);
  const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  CHECK(write_all(full, "x", 1) == ENOSPC);
  close(full);
  CHECK(std::string(errno_text(ENOSPC)) == "no space left on the device");
  CHECK(errno_text(12345) == nullptr);
}
