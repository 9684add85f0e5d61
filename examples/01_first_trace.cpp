// SPDX-License-Identifier: MIT
// The smallest useful program: start, record two levels of regions, write a dump.
//
// Prints:
//   the answer is 328350
//   wrote 01_first_trace.contrail
// Records: "program", "sum of squares"
//
// To see it: tools/contrail.py convert 01_first_trace.contrail -o trace.json, then open trace.json in ui.perfetto.dev
#include <contrail/contrail.hpp>

#include <cstdio>

long sum_of_squares(int count) {
  TRACE_REGION("sum of squares", "count", count);  // from here to the end of the block
  long sum = 0;
  for (int i = 0; i < count; ++i) sum += static_cast<long>(i) * i;
  return sum;
}

int main() {
  if (auto error = contrail::flight_recorder::start()) {
    std::fprintf(stderr, "cannot record: %s\n", error.message());
    return 1;
  }

  {
    TRACE_REGION("program");
    std::printf("the answer is %ld\n", sum_of_squares(100));
  }

  if (auto error = contrail::flight_recorder::dump("01_first_trace.contrail")) {
    std::fprintf(stderr, "cannot write the dump: %s\n", error.message());
    return 1;
  }
  std::printf("wrote 01_first_trace.contrail\n");
}
