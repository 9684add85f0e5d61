// SPDX-License-Identifier: MIT
// Tasks follow an order from thread to thread; flows are arrows between regions; a blocked region says what was waited
// for.
//
// Prints:
//   the order's traceparent has 55 characters
//   wrote 15_tasks.contrail
// Records: "order", "payment", "take order", "make coffee", "wait for beans", "counter closes"
#include <contrail/contrail.hpp>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

int main() {
  if (auto error = contrail::flight_recorder::start()) {
    std::fprintf(stderr, "cannot record: %s\n", error.message());
    return 1;
  }

  // The order begins here and ends on another thread. It is in every dump meanwhile.
  TRACE_TASK(order, "order", "drink", "flat white", "number", 17);
  char header[contrail::traceparent_bytes + 1];
  order.context().write_traceparent(header);  // for a request to another service
  std::printf("the order's traceparent has %zu characters\n", std::strlen(header));

  const contrail::flow cup = contrail::flow::begin();
  {
    contrail::task_scope current(order);  // what this thread records now belongs to the order
    TRACE_REGION("take order", "cup", cup.out());
    TRACE_TASK(payment, "payment");  // a child of the order
  }
  std::thread([cup, order = std::move(order)]() mutable {
    contrail::task_scope current(order);
    TRACE_REGION("make coffee", "cup", cup.in());
    TRACE_BLOCKED(sleep, "wait for beans");
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    order.end();
  }).join();
  TRACE_INSTANT("counter closes");

  if (auto error = contrail::flight_recorder::dump("15_tasks.contrail")) {
    std::fprintf(stderr, "cannot write the dump: %s\n", error.message());
    return 1;
  }
  std::printf("wrote 15_tasks.contrail\n");
}
