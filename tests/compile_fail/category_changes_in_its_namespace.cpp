// SPDX-License-Identifier: MIT
// expect: contrail_category
#include "contrail/contrail.hpp"

namespace net {
TRACE_CATEGORY("net");
#ifdef OK
TRACE_CATEGORY("net");
#else
TRACE_CATEGORY("disk");
#endif
}  // namespace net
