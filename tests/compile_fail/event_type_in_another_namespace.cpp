// SPDX-License-Identifier: MIT
// expect: write TRACE_EVENT_TYPE in the namespace of the type
#include "contrail/contrail.hpp"

namespace geometry {
struct point {
  int x, y;
};
#ifdef OK
TRACE_EVENT_TYPE(point, x, y);
#endif
}  // namespace geometry
#ifndef OK
TRACE_EVENT_TYPE(geometry::point, x, y);
#endif
