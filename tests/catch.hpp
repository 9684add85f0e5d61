// SPDX-License-Identifier: MIT
// Catch2, version 3 where it is installed, else 2.13.
#ifndef CONTRAIL_TESTS_CATCH_HPP
#define CONTRAIL_TESTS_CATCH_HPP

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#endif
