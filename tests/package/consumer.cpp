// SPDX-License-Identifier: MIT
// What each consumer project builds and runs: a region is in the dump made in memory.
#ifdef CONSUMER_HAS_SINGLE_HEADER
#include "contrail.hpp"
#else
#include <contrail/contrail.hpp>
#endif

#include <stdio.h>

#include <string>

int main() {
  if (const auto error = contrail::flight_recorder::start()) {
    fprintf(stderr, "%s\n", error.message());
    return 1;
  }
  { TRACE_REGION("recorded by a consumer", "answer", 42); }
  std::string bytes;
  if (const auto error = contrail::flight_recorder::dump(bytes)) {
    fprintf(stderr, "%s\n", error.message());
    return 2;
  }
  return bytes.find("recorded by a consumer") == std::string::npos ? 3 : 0;
}
