// SPDX-License-Identifier: MIT
// The main function of all tests, where the installed Catch2 2.13 comes without one.
#define CATCH_CONFIG_MAIN
#include "catch.hpp"
