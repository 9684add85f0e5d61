// SPDX-License-Identifier: MIT
// What a library copies into its sources to trace where contrail is there, and to build without it where it is not.
#ifndef PARSER_TRACE_HPP
#define PARSER_TRACE_HPP

#if !defined(PARSER_NO_TRACE) && __has_include(<contrail/contrail.hpp>)
#include <contrail/contrail.hpp>
#define PARSER_REGION(...) CONTRAIL_REGION(__VA_ARGS__)
#define PARSER_CATEGORY() CONTRAIL_CATEGORY("parser")
#else
#define PARSER_REGION(...) static_cast<void>(0)
#define PARSER_CATEGORY() static_assert(true)
#endif

#endif
