// SPDX-License-Identifier: MIT
// expect: an argument of this type cannot be recorded
#include "contrail/contrail.hpp"

#include <atomic>

std::atomic<int> count;

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_REGION("r", "count", count.load());
#else
  TRACE_REGION("r", "count", count);
#endif
}
