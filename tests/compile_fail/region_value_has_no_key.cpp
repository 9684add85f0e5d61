// SPDX-License-Identifier: MIT
// expect: a single argument after the name must be an object of a type registered
#include "contrail/contrail.hpp"

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_REGION("r", "size", size);
#else
  TRACE_REGION("r", size);
#endif
}
