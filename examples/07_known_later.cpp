// SPDX-License-Identifier: MIT
// A region with a name of its own: for what is known only later, and to end it before its block does.
//
// Prints:
//   /index.html: 200
//   /missing: 404
//   wrote 07_known_later.contrail
// Records: "handle request", "parse", "write log"
#include <contrail/contrail.hpp>

#include <cstdio>
#include <string_view>

int handle(std::string_view path) {
  TRACE_REGION_VAR(request, "handle request", "path", path);

  TRACE_REGION_VAR(parse, "parse");
  const bool found = path == "/index.html";
  parse.end();  // what follows is no longer part of parsing

  const int status = found ? 200 : 404;
  request.set("status", status);  // shown beside the path
  return status;
}

int main() {
  if (auto error = contrail::flight_recorder::start()) {
    std::fprintf(stderr, "cannot record: %s\n", error.message());
    return 1;
  }

  for (const char* path : {"/index.html", "/missing"}) {
    const int status = handle(path);
    TRACE_REGION("write log");
    std::printf("%s: %d\n", path, status);
  }

  if (auto error = contrail::flight_recorder::dump("07_known_later.contrail")) {
    std::fprintf(stderr, "cannot write the dump: %s\n", error.message());
    return 1;
  }
  std::printf("wrote 07_known_later.contrail\n");
}
