// SPDX-License-Identifier: MIT
// expect: fmt refuses this format for these arguments
// needs: fmt/core.h
#include "contrail/contrail.hpp"
#include "contrail/fmt.hpp"

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_LOG("{:d}", size);
#else
  TRACE_LOG("{:d}", path);
#endif
}
