// SPDX-License-Identifier: MIT
// Alternate signal stacks: a thread whose own stack overflowed has nowhere else to run the crash handler. Each thread
// that records gets one, above a guard page; they are no part of the image.
#ifndef CONTRAIL_DETAIL_CRASH_STACK_HPP
#define CONTRAIL_DETAIL_CRASH_STACK_HPP

#include "contrail/detail/process.hpp"
#include "contrail/detail/thread_id.hpp"

#include <signal.h>
#include <sys/mman.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr uint64_t most_stacks = 8192;
inline constexpr uint64_t fewest_stacks = 64;
inline constexpr uint64_t smallest_stack_bytes = 64U << 10;

/// Address space for stacks; a page gets memory when somebody first uses it.
struct stack_pool {
  char* first;           ///< its guard page; the stack is above that
  uint64_t guard_bytes;
  uint64_t stride;       ///< from one guard page to the next
  uint64_t count;
  atomic_word taken;     ///< the first so many belong, or belonged, to threads
  atomic_word hand;      ///< where the next search for one of a dead thread begins
  atomic_word* owners;   ///< tid of each; 0 while it is made ready
};

/// Null when the system has no address space.
inline stack_pool* make_stack_pool() {
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  uint64_t stack_bytes = smallest_stack_bytes;
#ifdef _SC_SIGSTKSZ
  // What the kernel pushes for a signal depends on the processor, and is more than SIGSTKSZ on some.
  const long wanted = sysconf(_SC_SIGSTKSZ);
  if (wanted > static_cast<long>(stack_bytes)) stack_bytes = static_cast<uint64_t>(wanted);
#endif
  const uint64_t stride = (stack_bytes + page - 1) / page * page + page;
  for (uint64_t count = most_stacks; count >= fewest_stacks; count /= 2) {
    const uint64_t table_bytes = (sizeof(stack_pool) + count * sizeof(atomic_word) + page - 1) / page * page;
    void* const raw = mmap(nullptr, table_bytes + count * stride, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) continue;
    char* const base = static_cast<char*>(raw);
    if (mprotect(base, table_bytes, PROT_READ | PROT_WRITE) != 0) {
      munmap(raw, table_bytes + count * stride);
      return nullptr;
    }
    stack_pool& pool = *reinterpret_cast<stack_pool*>(base);
    pool.first = base + table_bytes;
    pool.guard_bytes = page;
    pool.stride = stride;
    pool.count = count;
    pool.owners = reinterpret_cast<atomic_word*>(base + sizeof(stack_pool));
    return &pool;
  }
  return nullptr;
}

inline constexpr uint64_t no_stack = ~uint64_t{0};

/// A stack for the thread `tid`: its index plus 1, or no_stack. One of a thread that ended if a few probes find any, so
/// that there are never many more stacks than threads at one time.
// Async-signal-safe.
inline uint64_t take_stack(stack_pool& pool, uint32_t tid) {
  uint64_t taken = pool.taken.load_relaxed();
  if (taken > pool.count) taken = pool.count;
  const unsigned probes = taken == pool.count ? 64 : 8;
  for (unsigned i = 0; i < probes && taken != 0; ++i) {
    const uint64_t index = pool.hand.fetch_add_relaxed(1) % taken;
    uint64_t owner = pool.owners[index].load_relaxed();
    if (owner == 0 || is_thread_alive(static_cast<uint32_t>(owner))) continue;
    if (pool.owners[index].compare_exchange(owner, tid)) return index + 1;
  }
  if (taken == pool.count) return no_stack;
  const uint64_t index = pool.taken.fetch_add_relaxed(1);
  if (index >= pool.count) return no_stack;
  char* const stack = pool.first + index * pool.stride + pool.guard_bytes;
  if (mprotect(stack, pool.stride - pool.guard_bytes, PROT_READ | PROT_WRITE) != 0) return no_stack;
  pool.owners[index].store_release(tid);
  return index + 1;
}

/// Makes sure that the running thread has an alternate stack, if dumps of crashes were asked for. One that is not ours
/// stays. Called again and again, since the kernel undoes what a signal handler installs when the handler returns.
/// `number` is where the thread keeps its stack's number, 0 at first.
// Async-signal-safe.
inline void keep_stack(process_state& process, atomic_word& number) {
  const uint64_t address = process.stacks.load_acquire();
  if (address == 0 || number.load_relaxed() == no_stack) return;
  stack_pool& pool = *reinterpret_cast<stack_pool*>(address);
  stack_t there{};
  if (sigaltstack(nullptr, &there) != 0 || (there.ss_flags & SS_DISABLE) == 0) return;
  const uint32_t tid = current_tid();
  uint64_t mine = number.load_relaxed();
  if (mine == 0 || pool.owners[mine - 1].load_relaxed() != tid) {
    mine = take_stack(pool, tid);
    number.store_relaxed(mine);
    if (mine == no_stack) return;
  }
  stack_t fresh{};
  fresh.ss_sp = pool.first + (mine - 1) * pool.stride + pool.guard_bytes;
  fresh.ss_size = pool.stride - pool.guard_bytes;
  sigaltstack(&fresh, nullptr);
}

/// In a forked child, whose thread has its parent's stack, and a tid of its own.
// Async-signal-safe.
inline void adopt_stack(process_state& process) {
  const uint64_t address = process.stacks.load_acquire();
  stack_t there{};
  if (address == 0 || sigaltstack(nullptr, &there) != 0) return;
  stack_pool& pool = *reinterpret_cast<stack_pool*>(address);
  const uint64_t offset = reinterpret_cast<uint64_t>(there.ss_sp) - reinterpret_cast<uint64_t>(pool.first);
  if (offset < pool.count * pool.stride) pool.owners[offset / pool.stride].store_relaxed(current_tid());
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
