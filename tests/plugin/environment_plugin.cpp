// SPDX-License-Identifier: MIT
// A library that only brings the variable CONTRAIL into a program.
#include <contrail/env.hpp>
