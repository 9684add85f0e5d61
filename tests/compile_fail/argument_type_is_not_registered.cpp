// SPDX-License-Identifier: MIT
// expect: an argument of this type cannot be recorded: register the type with TRACE_EVENT_TYPE
#include "contrail/contrail.hpp"

struct point {
  int x, y;
};

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_REGION("r", "point", point{1, 2}.x);
#else
  TRACE_REGION("r", "point", point{1, 2});
#endif
}
