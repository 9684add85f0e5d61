// SPDX-License-Identifier: MIT
// expect: use TRACE_EMIT(object)
#include "contrail/contrail.hpp"

struct point {
  int x, y;
};
TRACE_EVENT_TYPE(point, x, y);

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_LOG("{}", point{1, 2}.x);
#else
  TRACE_LOG("{}", point{1, 2});
#endif
}
