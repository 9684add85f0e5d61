// SPDX-License-Identifier: MIT
// expect: the value of a counter must be a number
#include "contrail/contrail.hpp"

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_COUNTER("depth", size);
#else
  TRACE_COUNTER("depth", path);
#endif
}
