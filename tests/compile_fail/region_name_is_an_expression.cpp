// SPDX-License-Identifier: MIT
// expect: the name of a region must be a string literal
#include "contrail/contrail.hpp"

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_REGION("prefix");
#else
  TRACE_REGION("prefix" + size);
#endif
}
