// SPDX-License-Identifier: MIT
#include "contrail/detail/filter.hpp"

#include "catch.hpp"

#include <string>

namespace {

using contrail::detail::passes_globs;

static_assert(passes_globs("net,db*", "db.query"));
static_assert(!passes_globs("net,db*", "disk"));

bool matches(const std::string& glob, const std::string& name) {
  return contrail::detail::matches_glob(glob.data(), glob.data() + glob.size(), name.data(), name.data() + name.size());
}

}  // namespace

TEST_CASE("a glob matches the whole name, with * for any run and ? for any character") {
  CHECK(matches("", ""));
  CHECK_FALSE(matches("", "a"));
  CHECK(matches("abc", "abc"));
  CHECK_FALSE(matches("abc", "abcd"));
  CHECK_FALSE(matches("abc", "ab"));
  CHECK(matches("*", ""));
  CHECK(matches("a*c", "ac"));
  CHECK(matches("a*c", "abcabc"));
  CHECK_FALSE(matches("a*c", "abcab"));
  CHECK(matches("*b*d*", "abcde"));
  CHECK(matches("a?c", "abc"));
  CHECK_FALSE(matches("a?c", "ac"));
  CHECK(matches("**a", "bba"));
  CHECK(matches("a**", "a"));
}

TEST_CASE("the last glob of a list that matches decides, and a minus excludes") {
  CHECK(passes_globs("", "x"));
  CHECK(passes_globs("  ", "x"));
  CHECK(passes_globs("a,b", "b"));
  CHECK_FALSE(passes_globs("a,b", "c"));
  CHECK(passes_globs("-a", "b"));
  CHECK_FALSE(passes_globs("-a", "a"));
  CHECK_FALSE(passes_globs("net,-net", "net"));
  CHECK(passes_globs("-net*,net.important", "net.important"));
  CHECK_FALSE(passes_globs("db*,-db.noise", "db.noise"));
  CHECK(passes_globs(" db* , -db.noise ", "db.query"));
  CHECK_FALSE(passes_globs(",,a,,", "b"));
  CHECK(passes_globs("a*a*a*a*a*a*a*a*b,*", std::string(200, 'a').c_str()));
}
