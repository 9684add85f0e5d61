// SPDX-License-Identifier: MIT
// expect: this format mixes {} and {0}
#include "contrail/contrail.hpp"

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_LOG("{0} {0}", size);
#else
  TRACE_LOG("{} {0}", size);
#endif
}
