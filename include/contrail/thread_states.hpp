// SPDX-License-Identifier: MIT
// Opt-in: dumps that show when each thread ran, waited, and waited for a processor, and each region's processor time,
// from the kernel's records of this process's context switches.
//
//   #include <contrail/contrail.hpp>
//   #include <contrail/thread_states.hpp>
//
//   contrail::flight_recorder::start({.thread_states = contrail::context_switches});
#ifndef CONTRAIL_THREAD_STATES_HPP
#define CONTRAIL_THREAD_STATES_HPP

#include "contrail/contrail.hpp"

#if CONTRAIL_DETAIL_ENABLED

#ifdef CONTRAIL_MACROS_ONLY
#error "contrail/thread_states.hpp needs all of contrail: leave out CONTRAIL_MACROS_ONLY in this translation unit."
#endif

#include "contrail/detail/switch_buffers.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

CONTRAIL_DETAIL_HIDDEN inline constexpr state_functions switch_source{
    {},
    open_switch_buffers,
    close_switch_buffers,
    forget_switch_buffers,
    count_switch_buffers,
    measure_switch_buffers,
    copy_switch_buffers,
    state_of_thread};

}  // namespace detail

/// For options::thread_states: what the kernel tells by perf_event_open, which needs no rights where
/// kernel.perf_event_paranoid is 2 or less and no sandbox forbids the call. It takes up to 512 KiB of the kernel's
/// memory for each processor, besides options::memory; in these the last 10,000 times that threads of this process ran
/// on it.
CONTRAIL_DETAIL_HIDDEN inline constexpr const thread_state_source* context_switches = &detail::switch_source;

CONTRAIL_DETAIL_NAMESPACE_END

#else

namespace contrail {
inline namespace disabled_v0 {

/// See above. Nothing records here.
inline constexpr const thread_state_source* context_switches = nullptr;

}  // namespace disabled_v0
}  // namespace contrail

#endif

#endif
