// SPDX-License-Identifier: MIT
// Stands for another tracing library: the macros that Perfetto's SDK defines.
#ifndef CONTRAIL_TESTS_PERFETTO_STUB_HPP
#define CONTRAIL_TESTS_PERFETTO_STUB_HPP

#define TRACE_EVENT_BEGIN(category, ...) (void)(category)
#define TRACE_EVENT_END(category, ...) (void)(category)
#define TRACE_EVENT(category, ...) (void)(category)
#define TRACE_EVENT_INSTANT(category, ...) (void)(category)
#define TRACE_COUNTER(category, track, ...) (void)(category)

#endif
