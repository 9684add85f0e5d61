// SPDX-License-Identifier: MIT
// expect: this type is not registered
#include "contrail/contrail.hpp"

struct point {
  int x, y;
};
#ifdef OK
TRACE_EVENT_TYPE(point, x, y);
#endif
static_assert(contrail::event_info<point>::size == 8);
