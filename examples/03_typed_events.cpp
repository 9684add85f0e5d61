// SPDX-License-Identifier: MIT
// A struct as an event: its schema is known at compile time, and every use of it is checked.
//
// Prints:
//   order_placed has 3 fields: id, price, side
//   wrote 03_typed_events.contrail
// Records: "market::order_placed", "match order"
#include <contrail/contrail.hpp>

#include <cstdint>
#include <cstdio>

namespace market {

enum class side { buy, sell };

struct order_placed {
  std::uint64_t id;
  double price;
  market::side side;
};
TRACE_EVENT_TYPE(order_placed, id, price, side);  // in the namespace of the type

void match(const order_placed& order) {
  TRACE_REGION("match order", order);  // a region that carries the whole object
}

}  // namespace market

using order_info = contrail::event_info<market::order_placed>;
static_assert(order_info::fields.size() == 3);

int main() {
  std::printf("order_placed has %d fields: ", static_cast<int>(order_info::fields.size()));
  const char* separator = "";
  for (const auto& field : order_info::fields) {
    std::printf("%s%.*s", separator, static_cast<int>(field.name.size), field.name.data);
    separator = ", ";
  }
  std::printf("\n");

  if (auto error = contrail::flight_recorder::start()) {
    std::fprintf(stderr, "cannot record: %s\n", error.message());
    return 1;
  }

  TRACE_EMIT(market::order_placed{1, 99.5, market::side::sell});  // a moment, with the fields as arguments
  market::match({2, 100.25, market::side::buy});

  if (auto error = contrail::flight_recorder::dump("03_typed_events.contrail")) {
    std::fprintf(stderr, "cannot write the dump: %s\n", error.message());
    return 1;
  }
  std::printf("wrote 03_typed_events.contrail\n");
}
