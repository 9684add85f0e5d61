// SPDX-License-Identifier: MIT
// expect: an argument of this type cannot be recorded
#include "contrail/contrail.hpp"

#include <vector>

std::vector<int> list;

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_INSTANT("r", "list", list.size());
#else
  TRACE_INSTANT("r", "list", list);
#endif
}
