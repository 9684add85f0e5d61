// SPDX-License-Identifier: MIT
// contrail: a flight recorder for C++20 programs. Include this.
//
//   #include <contrail/contrail.hpp>
//
//   int main() {
//     contrail::flight_recorder::start();
//     {
//       TRACE_REGION("work", "items", 3);
//     }
//     contrail::flight_recorder::dump("work.contrail");
//   }
#ifndef CONTRAIL_CONTRAIL_HPP
#define CONTRAIL_CONTRAIL_HPP

#include "contrail/config.hpp"
#include "contrail/options.hpp"

#if CONTRAIL_DETAIL_ENABLED
#include "contrail/macros.hpp"
#ifndef CONTRAIL_MACROS_ONLY
#include "contrail/flight_recorder.hpp"
#endif
#else
#include "contrail/disabled.hpp"
#endif

#include "contrail/short_macros.hpp"

#endif
