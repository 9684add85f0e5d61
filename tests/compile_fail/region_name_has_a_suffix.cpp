// SPDX-License-Identifier: MIT
// expect: the name of a region must be a string literal
#include "contrail/contrail.hpp"

#include <string_view>

using namespace std::string_view_literals;

void traced([[maybe_unused]] const char* path, [[maybe_unused]] int size) {
#ifdef OK
  TRACE_REGION("name");
#else
  TRACE_REGION("name"sv);
#endif
}
