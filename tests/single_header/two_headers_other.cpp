// SPDX-License-Identifier: MIT
#include "contrail.hpp"

inline void traced_in_both() { TRACE_REGION("in both"); }

void traced_with_single_header() {
  TRACE_REGION("with single header");
  traced_in_both();
}
