// SPDX-License-Identifier: MIT
// The explorer's own test: small programs whose possible outcomes the memory model of C++20 is known to give. An
// outcome that the explorer misses would hide bugs; one that it invents would report bugs that are none.
#include "explorer.hpp"
#include "prelude.hpp"

#include <algorithm>
#include <cstdio>

namespace {

uint64_t x, y, z;

uint64_t get(const uint64_t& from, int how = __ATOMIC_RELAXED) { return model::load(&from, how); }
void put(uint64_t& to, uint64_t value, int how = __ATOMIC_RELAXED) { model::store(&to, value, how); }
void fence(int how) { model::fence(how); }

constexpr int acquire = __ATOMIC_ACQUIRE, release = __ATOMIC_RELEASE, seq_cst = __ATOMIC_SEQ_CST;

using outcomes = std::set<std::vector<uint64_t>>;  // what each thread reported, one thread after the other

outcomes outcomes_of(const std::vector<std::function<void()>>& threads, std::initializer_list<const uint64_t*> last = {}) {
  model::scenario of;
  of.set_up = [] { x = y = z = 0; };
  of.shared = {{&x, 8}, {&y, 8}, {&z, 8}};
  for (const auto& body : threads) of.threads.push_back({"thread", body});
  of.judge = [&](model::outcome& ended) {
    std::string all;
    for (unsigned i = 0; i != threads.size(); ++i) {
      for (uint64_t fact : ended.facts(i)) all += static_cast<char>(fact);
    }
    for (const uint64_t* word : last) all += static_cast<char>(ended.last(word));
    ended.occurred(all);
    return std::string();
  };
  outcomes found;
  for (const std::string& each : model::explore(of).cases) found.insert({each.begin(), each.end()});
  return found;
}

bool is_good = true;

void expect(const char* what, const outcomes& found, const outcomes& wanted) {
  if (found == wanted) return;
  is_good = false;
  std::printf("%s: found", what);
  for (const auto& each : found) {
    std::printf(" (");
    for (uint64_t value : each) std::printf("%llu ", static_cast<unsigned long long>(value));
    std::printf(")");
  }
  std::puts("");
}

void expect_possible(const char* what, const outcomes& found, const std::vector<uint64_t>& one, bool is_possible) {
  if (found.contains(one) == is_possible) return;
  is_good = false;
  std::printf("%s: %s\n", what, is_possible ? "misses an outcome" : "invents an outcome");
}

void message_passing() {
  const auto outcomes_with = [](auto writer, auto reader) { return outcomes_of({writer, reader}); };
  const auto relaxed = outcomes_with([] { put(x, 1), put(y, 1); }, [] { model::fact(get(y)), model::fact(get(x)); });
  expect("message passing, relaxed", relaxed, {{0, 0}, {0, 1}, {1, 0}, {1, 1}});
  const outcomes ordered = {{0, 0}, {0, 1}, {1, 1}};
  expect("message passing, release and acquire",
         outcomes_with([] { put(x, 1), put(y, 1, release); }, [] { model::fact(get(y, acquire)), model::fact(get(x)); }),
         ordered);
  expect("message passing, fences",
         outcomes_with([] { put(x, 1), fence(release), put(y, 1); },
                       [] { model::fact(get(y)), fence(acquire), model::fact(get(x)); }),
         ordered);
  expect("message passing, release without acquire",
         outcomes_with([] { put(x, 1), put(y, 1, release); }, [] { model::fact(get(y)), model::fact(get(x)); }), relaxed);
  expect("message passing, acquire without release",
         outcomes_with([] { put(x, 1), put(y, 1); }, [] { model::fact(get(y, acquire)), model::fact(get(x)); }), relaxed);
  // C++20: a later relaxed store of the same thread does not go on with the release.
  expect_possible("a release sequence ends at the thread's own store",
                  outcomes_with([] { put(x, 1), put(y, 1, release), put(y, 2); },
                                [] { model::fact(get(y, acquire)), model::fact(get(x)); }),
                  {2, 0}, true);
}

void release_sequence() {
  const auto found = outcomes_of({[] { put(x, 1), put(y, 1, release); }, [] { model::add(&y, uint64_t{1}, __ATOMIC_RELAXED); },
                                  [] { model::fact(get(y, acquire)), model::fact(get(x)); }});
  expect("an update goes on with the release that it read", found, {{0, 0}, {0, 1}, {1, 0}, {1, 1}, {2, 1}});
}

void store_buffering() {
  const auto with = [](int how) {
    return outcomes_of({[=] { put(x, 1, release), fence(how), model::fact(get(y, acquire)); },
                        [=] { put(y, 1, release), fence(how), model::fact(get(x, acquire)); }});
  };
  expect("store buffering, acquire and release", with(__ATOMIC_ACQ_REL), {{0, 0}, {0, 1}, {1, 0}, {1, 1}});
  expect("store buffering, sequentially consistent fences", with(seq_cst), {{0, 1}, {1, 0}, {1, 1}});
}

void order_of_two_writers() {
  const auto with = [](int how) {
    return outcomes_of({[] { put(x, 1, release); }, [] { put(y, 1, release); },
                        [=] { model::fact(get(x, acquire)), fence(how), model::fact(get(y, acquire)); },
                        [=] { model::fact(get(y, acquire)), fence(how), model::fact(get(x, acquire)); }});
  };
  expect_possible("readers disagree on the order of two writers", with(__ATOMIC_ACQUIRE), {1, 0, 1, 0}, true);
  expect_possible("with fences readers agree", with(seq_cst), {1, 0, 1, 0}, false);
  const auto found = outcomes_of({[] { put(x, 1, release), put(y, 2, release); }, [] { put(y, 1, release), put(x, 2, release); },
                                  [] { model::fact(get(x)); }, [] { model::fact(get(y)); }});
  expect_possible("both first stores come last", found, {0, 0}, true);
  // 2+2W: each writer's second store before the other one's first, in the orders of both places.
  const auto crossed = [](int how) {
    return outcomes_of({[=] { put(x, 1), fence(how), put(y, 2); }, [=] { put(y, 1), fence(how), put(x, 2); }}, {&x, &y});
  };
  expect_possible("two writers cross", crossed(__ATOMIC_ACQ_REL), {1, 1}, true);
  expect_possible("with fences they do not", crossed(seq_cst), {1, 1}, false);
}

void coherence() {
  const auto found = outcomes_of({[] { put(x, 1), put(x, 2); }, [] { model::fact(get(x)), model::fact(get(x)); }});
  expect("reads of one place go forwards", found, {{0, 0}, {0, 1}, {0, 2}, {1, 1}, {1, 2}, {2, 2}});
  // Dekker's question about one place: not both updates may read the same.
  const auto updates = outcomes_of({[] { model::fact(model::add(&x, uint64_t{1}, __ATOMIC_RELAXED)); },
                                    [] { model::fact(model::add(&x, uint64_t{1}, __ATOMIC_RELAXED)); }});
  expect("updates are atomic", updates, {{0, 1}, {1, 0}});
  const auto exchange = [] {
    uint64_t expected = 0;
    model::fact(model::compare_exchange(&x, &expected, uint64_t{1}, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
  };
  expect("one exchange wins", outcomes_of({exchange, exchange}), {{0, 1}, {1, 0}});
}

void what_is_not_covered() {
  // Load buffering: C++ allows (1, 1), this model does not. docs/internals.md says so.
  const auto found = outcomes_of({[] { model::fact(get(x)), put(y, 1); }, [] { model::fact(get(y)), put(x, 1); }});
  expect("load buffering", found, {{0, 0}, {0, 1}, {1, 0}});
}

}  // namespace

int main() {
  message_passing();
  release_sequence();
  store_buffering();
  order_of_two_writers();
  coherence();
  what_is_not_covered();
  std::puts(is_good ? "The model allows and forbids what C++20 does, but for load buffering." : "The model is wrong.");
  return is_good ? 0 : 1;
}
