// SPDX-License-Identifier: MIT
#define CONTRAIL_NO_SHORT_MACROS
#include "contrail/contrail.hpp"

#include "perfetto_stub.hpp"

void contrail_first() {
  TRACE_EVENT("stub", "event");
  TRACE_COUNTER("stub", "track", 1);
  CONTRAIL_REGION("contrail");
  CONTRAIL_COUNTER("contrail", 1);
}
