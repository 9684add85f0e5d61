// SPDX-License-Identifier: MIT
// expect: no_such_variable
#define CONTRAIL_DISABLED
#include "contrail/contrail.hpp"

void traced([[maybe_unused]] int size) {
#ifdef OK
  TRACE_REGION("traced", "size", size);
#else
  TRACE_REGION("traced", "size", no_such_variable);
#endif
}
