// SPDX-License-Identifier: MIT
// Counters draw a curve over time, instants mark a moment.
//
// Prints:
//   the tank held at most 9 litres
//   wrote 06_counters_and_instants.contrail
// Records: "litres in tank", "temperature", "tank full", "fill and drain"
#include <contrail/contrail.hpp>

#include <algorithm>
#include <cstdio>

int main() {
  if (auto error = contrail::flight_recorder::start()) {
    std::fprintf(stderr, "cannot record: %s\n", error.message());
    return 1;
  }

  int litres = 0;
  int most = 0;
  {
    TRACE_REGION("fill and drain");
    for (int minute = 0; minute < 100; ++minute) {
      litres += minute % 20 < 10 ? 1 : -1;
      if (litres == 9) TRACE_INSTANT("tank full", "minute", minute);
      TRACE_COUNTER("litres in tank", litres);
      TRACE_COUNTER("temperature", 20.0 - 0.5 * litres);
      most = std::max(most, litres);
      litres = std::min(litres, 8);  // the overflow
    }
  }
  std::printf("the tank held at most %d litres\n", most);

  if (auto error = contrail::flight_recorder::dump("06_counters_and_instants.contrail")) {
    std::fprintf(stderr, "cannot write the dump: %s\n", error.message());
    return 1;
  }
  std::printf("wrote 06_counters_and_instants.contrail\n");
}
