// SPDX-License-Identifier: MIT
// expect: include <contrail/pfr.hpp>
#include "contrail/contrail.hpp"

struct point {
  int x, y;
};
#ifdef OK
TRACE_EVENT_TYPE(point, x, y);
#else
TRACE_EVENT_TYPE(point);
#endif
