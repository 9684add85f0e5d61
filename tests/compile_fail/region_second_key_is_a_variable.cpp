// SPDX-License-Identifier: MIT
// expect: a key must be a string literal
#include "contrail/contrail.hpp"

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_REGION("r", "a", size, "path", size);
#else
  TRACE_REGION("r", "a", size, path, size);
#endif
}
