// SPDX-License-Identifier: MIT
// Whether a sanitizer is compiled in that replaces the heap, delays signal handlers, and needs memory of its own.
#ifndef CONTRAIL_TESTS_SANITIZED_HPP
#define CONTRAIL_TESTS_SANITIZED_HPP

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CONTRAIL_TESTS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CONTRAIL_TESTS_SANITIZED 1
#endif
#endif
#ifndef CONTRAIL_TESTS_SANITIZED
#define CONTRAIL_TESTS_SANITIZED 0
#endif

#endif
