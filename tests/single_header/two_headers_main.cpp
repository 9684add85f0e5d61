// SPDX-License-Identifier: MIT
// One program, half of it built with include/, half with single_include/.
#include <contrail/contrail.hpp>

#include <stdio.h>

void traced_with_single_header();

// The same inline function in both units: the linker keeps one.
inline void traced_in_both() { TRACE_REGION("in both"); }

int main(int, char** argv) {
  if (const auto error = contrail::flight_recorder::start()) return fprintf(stderr, "%s\n", error.message()), 1;
  {
    TRACE_REGION("with include");
    traced_with_single_header();
    traced_in_both();
  }
  if (const auto error = contrail::flight_recorder::dump(argv[1])) return fprintf(stderr, "%s\n", error.message()), 2;
  return 0;
}
