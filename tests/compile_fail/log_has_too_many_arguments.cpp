// SPDX-License-Identifier: MIT
// expect: does not use all arguments
#include "contrail/contrail.hpp"

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_LOG("{} {}", path, size);
#else
  TRACE_LOG("{}", path, size);
#endif
}
