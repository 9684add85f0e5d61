// SPDX-License-Identifier: MIT
// A namespace names the category of everything in it; filters choose categories and names while the program runs.
//
// Prints:
//   wrote 08_categories_and_filters.contrail
// Records: "query", "send", "commit"
// Not recorded: "receive", "heartbeat"
#include <contrail/contrail.hpp>

#include <cstdio>

namespace net {
TRACE_CATEGORY("net");

void send() { TRACE_REGION("send"); }
void receive() { TRACE_REGION("receive"); }
void heartbeat() { TRACE_INSTANT("heartbeat"); }
}  // namespace net

namespace db {
TRACE_CATEGORY("db");

void query() { TRACE_REGION("query"); }
namespace journal {  // inner namespaces take the category of the outer one
void commit() { TRACE_REGION("commit"); }
}  // namespace journal
}  // namespace db

bool failed(contrail::error error) {
  if (error) std::fprintf(stderr, "%s\n", error.message());
  return static_cast<bool>(error);
}

int main() {
  using recorder = contrail::flight_recorder;
  if (failed(recorder::start({.filter = {.names = "-heart*"}}))) return 1;  // everything but heartbeats
  net::heartbeat();
  net::send();

  if (failed(recorder::set_filter({.categories = "db"}))) return 1;  // from here on only the database
  net::receive();
  db::query();
  db::journal::commit();

  if (failed(recorder::dump("08_categories_and_filters.contrail"))) return 1;
  std::printf("wrote 08_categories_and_filters.contrail\n");
}
