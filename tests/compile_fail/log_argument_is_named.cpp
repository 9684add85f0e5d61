// SPDX-License-Identifier: MIT
// expect: arguments have no names here
#include "contrail/contrail.hpp"

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_LOG("{}", size);
#else
  TRACE_LOG("{size}", size);
#endif
}
