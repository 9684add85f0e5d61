// SPDX-License-Identifier: MIT
// expect: the name of a region must be a string literal; put a run-time name in an argument
#include "contrail/contrail.hpp"

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_REGION("request", "path", path);
#else
  TRACE_REGION(path);
#endif
}
