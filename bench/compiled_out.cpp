// SPDX-License-Identifier: MIT
// The region as a translation unit with CONTRAIL_DISABLED has it.
#define CONTRAIL_DISABLED
#include <contrail/contrail.hpp>

#include "compiled_out.hpp"
#include "measuring.hpp"

namespace contrail_bench {
namespace {

struct region_compiled_out {
  [[gnu::always_inline]] static void run(uint64_t i) { TRACE_REGION("compiled out", "value", i); }
};

}  // namespace

paired_samples compiled_out_blocks(unsigned pairs, uint64_t block) {
  return paired_blocks<region_compiled_out, empty_loop>(pairs, block);
}

}  // namespace contrail_bench
