// SPDX-License-Identifier: MIT
// A libFuzzer target: the reader on packed dumps (packed.hpp). It aborts when the reader contradicts itself or what
// docs/format.md promises; the sanitizers see the rest. tests/fuzz/README.md says how to run it.
#include "packed.hpp"

#include "text_form.hpp"

#include <cstdint>
#include <cstdio>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "The reader broke a promise: %s.\n", what);
  std::abort();
}

void check_events(const contrail::reader& reader) {
  uint64_t counted = 0, told = 0;
  for (const contrail::event_thread& t : reader.threads()) {
    told += t.region_count() + t.point_count() + t.async_count();
  }
  const contrail::event_thread* thread = nullptr;
  int64_t start = 0;
  for (const contrail::event& e : reader) {
    ++counted;
    require(e.start_ticks() <= e.end_ticks(), "an event ends before it began");
    require(e.start_ns() <= e.end_ns(), "an event ends before it began, in nanoseconds");
    require(e.start_ns() >= 0, "an event began before the first one");
    const bool is_region = e.form() == contrail::event_form::region || e.form() == contrail::event_form::open_region;
    if (&e.thread() == thread && is_region) require(e.start_ns() >= start, "regions are not in order");
    thread = &e.thread();
    start = e.start_ns();
    const contrail::event_fields fields = e.fields();
    for (const contrail::event_field& f : fields) {
      require(!f.values.empty(), "a field has no value");
      require(f.is_array || f.values.size() == 1, "a field that is no array has several values");
    }
    if (e.kind() == contrail::event_kind::unknown) require(e.name().starts_with("unknown #"), "an id has no name");
  }
  require(counted == told, "the threads do not have the events that they tell of");
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes = unpacked({reinterpret_cast<const char*>(data), size});
  if (bytes.size() > 1 << 20) return 0;
  const contrail::reader reader(bytes.data(), bytes.size());
  if (!reader) {
    require(!reader.reason().empty() && reader.threads().empty() && reader.begin() == reader.end(),
            "there is something to read, or no reason why not");
    return 0;
  }
  check_events(reader);
  const std::string text = text_of(reader);
  require(text.size() <= 700 * bytes.size() + 100'000, "the text is out of proportion to the input");
  require(!text.empty() && text.back() == '\n', "the last line has no end");
  for (const char c : text) require(c == '\n' || (c >= 0x20 && c < 0x7f), "the text is not plain");
  return 0;
}
