// SPDX-License-Identifier: MIT
// expect: a member of this event type cannot be recorded
// needs: boost/pfr/core.hpp
#include "contrail/contrail.hpp"
#include "contrail/pfr.hpp"


struct point {
  int x, y;
};
struct line {
  point from, to;
};
#ifdef OK
TRACE_EVENT_TYPE(point);
#endif
TRACE_EVENT_TYPE(line);
