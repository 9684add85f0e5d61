// SPDX-License-Identifier: MIT
// With Boost.PFR a plain aggregate needs no list of its fields. Opt in by one include.
//
// Prints:
//   wrote 04_pfr_events.contrail
// Records: "cache::request", "cache::cache_lookup", "serve"
#include <contrail/contrail.hpp>
#include <contrail/pfr.hpp>

#include <cstdint>
#include <cstdio>

namespace cache {

struct key {
  std::uint32_t tenant;
  std::uint32_t page;
};
TRACE_EVENT_TYPE(key);  // not emitted itself, but a member of an event

struct cache_lookup {
  cache::key key;  // its fields are shown as key.tenant and key.page
  bool hit;
  double age_seconds;
};
TRACE_EVENT_TYPE(cache_lookup);

struct request {
  int id;
  const char* path;
};
TRACE_EVENT_TYPE(request);

void serve(const request& current) {
  TRACE_REGION("serve", current);
  TRACE_EMIT(cache_lookup{{7, 42}, current.id % 2 == 0, 0.25});
}

}  // namespace cache

int main() {
  if (auto error = contrail::flight_recorder::start()) {
    std::fprintf(stderr, "cannot record: %s\n", error.message());
    return 1;
  }

  for (int id = 0; id < 4; ++id) {
    TRACE_EMIT(cache::request{id, "/index.html"});
    cache::serve({id, "/index.html"});
  }

  if (auto error = contrail::flight_recorder::dump("04_pfr_events.contrail")) {
    std::fprintf(stderr, "cannot write the dump: %s\n", error.message());
    return 1;
  }
  std::printf("wrote 04_pfr_events.contrail\n");
}
