// SPDX-License-Identifier: MIT
// Golden dumps read as docs/format.md says, by the tests' own strict reader; tests/python converts them.
#include "support/dump_reader.hpp"

#include "catch.hpp"

#include <glob.h>

#include <fstream>
#include <sstream>

TEST_CASE("every golden dump of version 1 can be read") {
  const std::string here = __FILE__;
  const std::string pattern = here.substr(0, here.rfind("integration/")) + "golden/v1-*.contrail";
  glob_t found{};
  REQUIRE(glob(pattern.c_str(), 0, nullptr, &found) == 0);
  size_t records = 0;
  for (size_t i = 0; i < found.gl_pathc; ++i) {
    INFO(found.gl_pathv[i]);
    std::ostringstream bytes;
    bytes << std::ifstream(found.gl_pathv[i], std::ios::binary).rdbuf();
    const auto dump = dump_reader::read(bytes.str());
    dump_reader::check_chains(dump);
    CHECK(dump.bindings.size() > 1);
    CHECK_FALSE(dump.slots.empty());
    records += dump.record_count();
  }
  CHECK(found.gl_pathc >= 4);
  CHECK(records > 50);
  globfree(&found);
}
