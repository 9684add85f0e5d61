// SPDX-License-Identifier: MIT
// expect: CONTRAIL_NO_SHORT_MACROS
#include "short_names/perfetto_stub.hpp"

#ifdef OK
#define CONTRAIL_NO_SHORT_MACROS
#endif
#include "contrail/contrail.hpp"
