// SPDX-License-Identifier: MIT
// expect: a key or a value is missing
#include "contrail/contrail.hpp"

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_REGION("r", "path", path, "size", size);
#else
  TRACE_REGION("r", "path", path, "size");
#endif
}
