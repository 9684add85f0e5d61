// SPDX-License-Identifier: MIT
// expect: 160 bytes fit
#include "contrail/contrail.hpp"

long many[21];

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_REGION("r", "few", many[0]);
#else
  TRACE_REGION("r", "many", many);
#endif
}
