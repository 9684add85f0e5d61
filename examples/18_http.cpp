// SPDX-License-Identifier: MIT
// A dump over HTTP, without a framework: the answer of contrail::http_trace goes where the server wants it. For a whole
// server with cpp-httplib see the folder server.
//
// Prints:
//   GET /trace?last=soon: 400 last takes a time above 0 and up to a day: last=5s, last=250ms, last=2m.
//   GET /trace?last=5s: 200 attachment; filename="18_http-…-1.contrail"
// Records: "request"
#include <contrail/contrail.hpp>
#include <contrail/http.hpp>

#include <cstdio>
#include <string>
#include <string_view>

/// What a server does with a request for /trace.
void get_trace(std::string_view query) {
  std::printf("GET /trace?%.*s: ", static_cast<int>(query.size()), query.data());
  contrail::http_trace(query, [](contrail::http_answer&& answer) {
    std::printf("%d ", answer.status);
    if (answer.status != 200) return void(std::printf("%s", answer.body.c_str()));
    for (const auto& [name, value] : answer.headers) {
      if (name == "Content-Disposition") std::puts(value.c_str());
    }
    if (std::FILE* file = std::fopen("18_http.contrail", "wb")) {  // here a client would save it
      std::fwrite(answer.body.data(), 1, answer.body.size(), file);
      std::fclose(file);
    }
  });
}

int main() {
  if (auto error = contrail::flight_recorder::start()) {
    std::fprintf(stderr, "cannot record: %s\n", error.message());
    return 1;
  }
  { TRACE_REGION("request"); }
  get_trace("last=soon");
  get_trace("last=5s");
}
