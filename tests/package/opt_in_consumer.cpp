// SPDX-License-Identifier: MIT
// Uses the opt-ins: a plain aggregate registers without a field list, and fmt checks the format string.
#include <contrail/contrail.hpp>
#include <contrail/fmt.hpp>
#include <contrail/pfr.hpp>

#include <string>

namespace consumer {
struct sample {
  int number;
  double value;
};
TRACE_EVENT_TYPE(sample);
}  // namespace consumer

int main() {
  if (contrail::flight_recorder::start()) return 1;
  TRACE_EMIT(consumer::sample{1, 2.5});
  TRACE_LOG("one is {:>3}", 1);
  std::string bytes;
  if (contrail::flight_recorder::dump(bytes)) return 2;
  return bytes.find("consumer::sample") == std::string::npos ? 3 : 0;
}
