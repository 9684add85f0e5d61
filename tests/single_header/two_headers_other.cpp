// SPDX-License-Identifier: MIT
#ifdef OTHER_MACROS_ONLY
#define CONTRAIL_MACROS_ONLY
#endif
#include "contrail.hpp"

inline void traced_in_both() { TRACE_REGION("in both"); }

#ifdef OTHER_MACROS_ONLY
namespace contrail {
class flight_recorder;  // else it is declared already, as another thing
}
#endif

void traced_with_single_header() {
  TRACE_REGION("with single header");
  traced_in_both();
}
