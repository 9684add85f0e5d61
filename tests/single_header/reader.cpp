// SPDX-License-Identifier: MIT
// Records, dumps into memory, and reads that by the single header's reader; where nothing records, reads what is no
// dump.
#include "contrail.hpp"

#include <string>

int main() {
  std::string bytes;
  const bool recorded = !contrail::flight_recorder::start();
  { TRACE_REGION("in one header", "answer", 42); }
  const bool dumped = !contrail::flight_recorder::dump(bytes);
  if (recorded != dumped) return 1;

  const contrail::reader reader(bytes.data(), bytes.size());
  if (static_cast<bool>(reader) != dumped) return 2;
  int found = 0;
  for (const contrail::event& e : reader) {
    const contrail::event_fields fields = e.fields();
    found += e.name() == "in one header" && fields.find("answer") && fields.find("answer")->value().as_int() == 42;
  }
  return found == (dumped ? 1 : 0) ? 0 : 3;
}
