// SPDX-License-Identifier: MIT
// Counting the placeholders of format strings.
#include "catch.hpp"

#include "contrail/log.hpp"

using contrail::detail::find_format_mistake;
using contrail::detail::format_mistake;

TEST_CASE("A format and its arguments belong together") {
  STATIC_REQUIRE(find_format_mistake("", 0) == format_mistake::none);
  STATIC_REQUIRE(find_format_mistake("plain", 0) == format_mistake::none);
  STATIC_REQUIRE(find_format_mistake("{} {}", 2) == format_mistake::none);
  STATIC_REQUIRE(find_format_mistake("{0} {1} {0}", 2) == format_mistake::none);
  STATIC_REQUIRE(find_format_mistake("{:>10.3f}{:#x}", 2) == format_mistake::none);
  STATIC_REQUIRE(find_format_mistake("{12}{11}{10}{9}{8}{7}{6}{5}{4}{3}{2}{1}{0}", 13) == format_mistake::none);
}

TEST_CASE("Doubled braces are text") {
  CHECK(find_format_mistake("{{}}", 0) == format_mistake::none);
  CHECK(find_format_mistake("{{{}}}", 1) == format_mistake::none);
  CHECK(find_format_mistake("{{0}}", 0) == format_mistake::none);
  CHECK(find_format_mistake("{{", 0) == format_mistake::none);
}

TEST_CASE("A width or precision may be an argument") {
  CHECK(find_format_mistake("{:{}}", 2) == format_mistake::none);
  CHECK(find_format_mistake("{:{}.{}f}", 3) == format_mistake::none);
  CHECK(find_format_mistake("{0:{1}}", 2) == format_mistake::none);
  CHECK(find_format_mistake("{:{}}", 1) == format_mistake::too_few_arguments);
  CHECK(find_format_mistake("{0:{}}", 2) == format_mistake::mixed);
}

TEST_CASE("Too few and too many arguments are told apart") {
  CHECK(find_format_mistake("{}", 0) == format_mistake::too_few_arguments);
  CHECK(find_format_mistake("{2}", 2) == format_mistake::too_few_arguments);
  CHECK(find_format_mistake("{}", 2) == format_mistake::too_many_arguments);
  CHECK(find_format_mistake("{1}", 2) == format_mistake::too_many_arguments);
  CHECK(find_format_mistake("{999999999999999999999}", 1) != format_mistake::none);
}

TEST_CASE("Broken formats are found") {
  CHECK(find_format_mistake("{", 1) == format_mistake::unclosed);
  CHECK(find_format_mistake("{0", 1) == format_mistake::unclosed);
  CHECK(find_format_mistake("{:x", 1) == format_mistake::unclosed);
  CHECK(find_format_mistake("{:{}", 2) == format_mistake::unclosed);
  CHECK(find_format_mistake("}", 0) == format_mistake::unopened);
  CHECK(find_format_mistake("{}}", 1) == format_mistake::unopened);
  CHECK(find_format_mistake("{} {0}", 1) == format_mistake::mixed);
  CHECK(find_format_mistake("{name}", 1) == format_mistake::named);
  CHECK(find_format_mistake("{ }", 1) == format_mistake::named);
}
