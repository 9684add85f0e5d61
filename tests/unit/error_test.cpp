// SPDX-License-Identifier: MIT
#include "contrail/error.hpp"

#include "catch.hpp"

#include <chrono>
#include <string>

namespace {
using namespace std::chrono_literals;
using contrail::duration;

static_assert(!contrail::error());
static_assert(contrail::error(contrail::error_code::busy, "x"));
static_assert(duration(5s).ns == 5'000'000'000);
}  // namespace

TEST_CASE("an error is true when something failed, and says what") {
  const contrail::error none;
  CHECK_FALSE(none);
  CHECK(none.code() == contrail::error_code::none);
  CHECK(std::string(none.message()).empty());
  const contrail::error failed(contrail::error_code::file, "why");
  CHECK(failed);
  CHECK(failed.code() == contrail::error_code::file);
  CHECK(std::string(failed.message()) == "why");
}

TEST_CASE("a message that is too long is cut and still ends") {
  const contrail::error failed(contrail::error_code::file, std::string(1000, 'x').c_str());
  CHECK(std::string(failed.message()).size() > 200);
  CHECK(std::string(failed.message()).size() < 256);
}

TEST_CASE("durations of any unit become nanoseconds, and too large ones the largest") {
  CHECK(duration(200ms).ns == 200'000'000);
  CHECK(duration(1min).ns == 60'000'000'000);
  CHECK(duration(3ns).ns == 3);
  CHECK(duration(std::chrono::duration<double>(1.5)).ns == 1'500'000'000);
  CHECK(duration(-2us).ns == -2000);
  CHECK(duration(std::chrono::hours::max()).ns > 9'000'000'000'000'000'000);
  CHECK(duration(std::chrono::hours::min()).ns < -9'000'000'000'000'000'000);
}
