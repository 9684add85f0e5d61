// SPDX-License-Identifier: MIT
// include/ and single_include/ in one translation unit, in either order (-DSINGLE_FIRST), each twice.
#ifdef SINGLE_FIRST
#include "contrail.hpp"
#endif
#include <contrail/contrail.hpp>
#include <contrail/contrail.hpp>

#include "contrail.hpp"
#include "contrail.hpp"

int main(int, char** argv) {
  if (contrail::flight_recorder::start()) return 1;
  { TRACE_REGION("in one unit"); }
  return contrail::flight_recorder::dump(argv[1]) ? 2 : 0;
}
