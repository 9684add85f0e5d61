// SPDX-License-Identifier: MIT
// expect: a '}' in this format has no '{'
#include "contrail/contrail.hpp"

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_LOG("{} }}", size);
#else
  TRACE_LOG("{} }", size);
#endif
}
