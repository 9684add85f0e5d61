// SPDX-License-Identifier: MIT
// expect: a member of this event type cannot be recorded
#include "contrail/contrail.hpp"

#include <vector>

struct point {
  int x, y;
};
struct path {
  std::vector<point> points;
  int length;
};
#ifdef OK
TRACE_EVENT_TYPE(path, length);
#else
TRACE_EVENT_TYPE(path, points, length);
#endif
