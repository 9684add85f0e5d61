// SPDX-License-Identifier: MIT
// expect: the name of an instant must be a string literal
#include "contrail/contrail.hpp"

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_INSTANT("arrived", "path", path);
#else
  TRACE_INSTANT(path, "size", size);
#endif
}
