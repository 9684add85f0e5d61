// SPDX-License-Identifier: MIT
// What a region can carry: pairs of a name and a value. Values are copied, so nothing has to outlive the statement.
//
// Prints:
//   wrote 02_arguments.contrail
// Records: "numbers", "text", "time and place", "delivery"
#include <contrail/contrail.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

enum class priority { low, normal, urgent };

void numbers() {
  TRACE_REGION("numbers", "int", -7, "unsigned", 7U, "byte", std::uint8_t{255}, "double", 0.5, "flag", true);
}

void text(const std::string& owner, std::string_view part) {
  // By content, up to a bound; a longer text is cut and marked as cut.
  TRACE_REGION("text", "literal", "abc", "string", owner, "view", part);
}

void time_and_place(const void* address) {
  using namespace std::chrono_literals;
  const int samples[4] = {1, 2, 3, 5};
  TRACE_REGION("time and place", "timeout", 250ms, "address", address, "samples", samples);
}

void delivery(priority level) {
  TRACE_REGION("delivery", "priority", level);  // shown by name: urgent
}

int main() {
  if (auto error = contrail::flight_recorder::start()) {
    std::fprintf(stderr, "cannot record: %s\n", error.message());
    return 1;
  }

  const std::string owner = "somebody with a name";
  numbers();
  text(owner, std::string_view(owner).substr(0, 8));
  time_and_place(&owner);
  delivery(priority::urgent);

  if (auto error = contrail::flight_recorder::dump("02_arguments.contrail")) {
    std::fprintf(stderr, "cannot write the dump: %s\n", error.message());
    return 1;
  }
  std::printf("wrote 02_arguments.contrail\n");
}
