// SPDX-License-Identifier: MIT
// Version, switches, platform detection, and the inline namespace that carries the ABI version.
#ifndef CONTRAIL_CONFIG_HPP
#define CONTRAIL_CONFIG_HPP

#define CONTRAIL_VERSION_MAJOR 0
#define CONTRAIL_VERSION_MINOR 1
#define CONTRAIL_VERSION_PATCH 0
/// The version as one number: major * 10000 + minor * 100 + patch.
#define CONTRAIL_VERSION 100

// Switches a user may define before the first include, in any translation unit on its own:
//   CONTRAIL_DISABLED           every macro compiles to nothing; the control functions answer "compiled out"
//   CONTRAIL_NO_SHORT_MACROS    only CONTRAIL_X macros, no TRACE_X
//   CONTRAIL_MACROS_ONLY        no flight_recorder: for what only records, half the time to compile
//   CONTRAIL_COMPACT            the begin of a region is a call too: smaller call sites, slower regions
//   CONTRAIL_TLS_MODEL          the thread-local model, "initial-exec" or "local-exec" unless defined
//   CONTRAIL_FORCE_UNSUPPORTED  behave as on a platform that contrail does not support (for tests)

#if __cplusplus < 202002L
#error "contrail needs C++20: compile with -std=c++20 or newer."
#endif

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__)) && defined(__LP64__) && \
    __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && defined(__GNUC__) && !defined(CONTRAIL_FORCE_UNSUPPORTED)
#define CONTRAIL_DETAIL_SUPPORTED 1
#else
#define CONTRAIL_DETAIL_SUPPORTED 0
#endif

#if CONTRAIL_DETAIL_SUPPORTED && !defined(CONTRAIL_DISABLED)
#define CONTRAIL_DETAIL_ENABLED 1
#else
#define CONTRAIL_DETAIL_ENABLED 0
#endif

#ifndef CONTRAIL_TLS_MODEL
// Code that is not position independent, or only as an executable's is, reaches its own thread-local variables without
// a look into the GOT. clang finds that by itself.
#if defined(__PIC__) && !defined(__PIE__)
#define CONTRAIL_TLS_MODEL "initial-exec"
#else
#define CONTRAIL_TLS_MODEL "local-exec"
#endif
#endif

// On every `namespace detail`: each shared object has its own copies of what is in it. With default visibility the
// dynamic linker would give a library the executable's functions, which use the executable's variables. The one
// recorder of the process is found by an ELF note instead of by symbol lookup (detail/process.hpp).
#define CONTRAIL_DETAIL_HIDDEN __attribute__((visibility("hidden")))
#define CONTRAIL_DETAIL_COLD __attribute__((noinline, cold))
#define CONTRAIL_DETAIL_ALWAYS_INLINE __attribute__((always_inline)) inline

// For the few functions that every translation unit must compile: optimising them would take longer than all the rest.
#if defined(__clang__)
#define CONTRAIL_DETAIL_UNOPTIMISED __attribute__((optnone, noinline))
#else
#define CONTRAIL_DETAIL_UNOPTIMISED __attribute__((optimize(0), noinline))
#endif

/// Everything lives in an inline namespace named after the ABI version, so that two versions never share a symbol.
#define CONTRAIL_DETAIL_NAMESPACE_BEGIN \
  namespace contrail {                  \
  inline namespace v0 {
#define CONTRAIL_DETAIL_NAMESPACE_END \
  }                                   \
  }

#endif
