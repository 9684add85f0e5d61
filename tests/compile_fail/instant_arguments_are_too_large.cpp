// SPDX-License-Identifier: MIT
// expect: 2040 bytes fit
#include "contrail/contrail.hpp"

long many[256];

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_INSTANT("r", "few", many[0]);
#else
  TRACE_INSTANT("r", "many", many);
#endif
}
