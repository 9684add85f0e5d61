// SPDX-License-Identifier: MIT
// A system call that fails in this process, as in a container that forbids it or on a system without it.
#ifndef CONTRAIL_TESTS_REFUSED_CALL_HPP
#define CONTRAIL_TESTS_REFUSED_CALL_HPP

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>

/// The system's `call` fails with `number` in this process from now on.
inline void refuse_call(long call, unsigned number) {
  const auto offset = static_cast<unsigned>(offsetof(seccomp_data, nr));
  sock_filter filter[] = {{BPF_LD | BPF_W | BPF_ABS, 0, 0, offset},
                          {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, static_cast<unsigned>(call)},
                          {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | number},
                          {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
  const sock_fprog program{4, filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) _exit(77);
}

#endif
