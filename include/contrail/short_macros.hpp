// SPDX-License-Identifier: MIT
// The one list of short names. CONTRAIL_NO_SHORT_MACROS leaves them out.
#ifndef CONTRAIL_SHORT_MACROS_HPP
#define CONTRAIL_SHORT_MACROS_HPP

#ifndef CONTRAIL_NO_SHORT_MACROS

#if defined(TRACE_REGION) || defined(TRACE_SCOPE) || defined(TRACE_FUNCTION) || defined(TRACE_REGION_VAR) ||    \
    defined(TRACE_INSTANT) || defined(TRACE_COUNTER) || defined(TRACE_LOG) || defined(TRACE_EMIT) ||            \
    defined(TRACE_EVENT_TYPE) || defined(TRACE_CATEGORY) || defined(TRACE_THREAD_NAME) || defined(TRACE_TASK) ||  \
    defined(TRACE_TASK_OF) || defined(TRACE_ASYNC) || defined(TRACE_BLOCKED) || defined(TRACE_FRAME)
#error "contrail: another header defines a TRACE_ macro already. Define CONTRAIL_NO_SHORT_MACROS before including contrail and write CONTRAIL_REGION and so on."
#endif

#define TRACE_REGION(...) CONTRAIL_REGION(__VA_ARGS__)
#define TRACE_SCOPE(...) CONTRAIL_SCOPE(__VA_ARGS__)
#define TRACE_FUNCTION(...) CONTRAIL_FUNCTION(__VA_ARGS__)
#define TRACE_REGION_VAR(...) CONTRAIL_REGION_VAR(__VA_ARGS__)
#define TRACE_BLOCKED(...) CONTRAIL_BLOCKED(__VA_ARGS__)
#define TRACE_TASK(...) CONTRAIL_TASK(__VA_ARGS__)
#define TRACE_TASK_OF(...) CONTRAIL_TASK_OF(__VA_ARGS__)
#define TRACE_ASYNC(...) CONTRAIL_ASYNC(__VA_ARGS__)
#define TRACE_FRAME(...) CONTRAIL_FRAME(__VA_ARGS__)
#define TRACE_INSTANT(...) CONTRAIL_INSTANT(__VA_ARGS__)
#define TRACE_COUNTER(...) CONTRAIL_COUNTER(__VA_ARGS__)
#define TRACE_LOG(...) CONTRAIL_LOG(__VA_ARGS__)
#define TRACE_EMIT(...) CONTRAIL_EMIT(__VA_ARGS__)
#define TRACE_EVENT_TYPE(...) CONTRAIL_EVENT_TYPE(__VA_ARGS__)
#define TRACE_CATEGORY(...) CONTRAIL_CATEGORY(__VA_ARGS__)
#define TRACE_THREAD_NAME(...) CONTRAIL_THREAD_NAME(__VA_ARGS__)

#endif

#endif
