// SPDX-License-Identifier: MIT
// expect: the format of a log line must be a string literal
#include "contrail/contrail.hpp"

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_LOG("{}", path);
#else
  TRACE_LOG(path);
#endif
}
