// SPDX-License-Identifier: MIT
// What hot_path.cpp needs of compiled_out.cpp.
#ifndef CONTRAIL_BENCH_COMPILED_OUT_HPP
#define CONTRAIL_BENCH_COMPILED_OUT_HPP

#include "measuring.hpp"

namespace contrail_bench {

paired_samples compiled_out_blocks(unsigned pairs, uint64_t block);

}  // namespace contrail_bench

#endif
