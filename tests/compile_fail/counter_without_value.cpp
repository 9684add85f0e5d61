// SPDX-License-Identifier: MIT
// expect: a counter takes its name and one value
#include "contrail/contrail.hpp"

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_COUNTER("depth", size);
#else
  TRACE_COUNTER("depth");
#endif
}
