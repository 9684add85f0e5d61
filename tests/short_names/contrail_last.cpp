// SPDX-License-Identifier: MIT
#include "perfetto_stub.hpp"

#define CONTRAIL_NO_SHORT_MACROS
#include "contrail/contrail.hpp"

void contrail_last() {
  TRACE_EVENT("stub", "event");
  TRACE_COUNTER("stub", "track", 1);
  CONTRAIL_REGION("contrail");
  CONTRAIL_COUNTER("contrail", 1);
}

#ifdef TRACE_REGION
#error "CONTRAIL_NO_SHORT_MACROS should leave TRACE_REGION undefined."
#endif
