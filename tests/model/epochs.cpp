// SPDX-License-Identifier: MIT
// Epochs: filters that change, and images that take over, while call sites ask whether they are on.
#include "small_image.hpp"

#include <cstring>

namespace model CONTRAIL_DETAIL_HIDDEN {

long (*system_call)(long, long) = [](long number, long) -> long { return number == SYS_gettid ? first_tid : 0; };

namespace {

constexpr contrail::descriptor first_descriptor{binding_kind::region, 0, contrail::text{"first"}, {}, {}, {}, 0, 0,
                                                nullptr, 0};
constexpr contrail::descriptor watched_descriptor{binding_kind::region, 0, contrail::text{"watched"}, {}, {}, {}, 0, 0,
                                                  nullptr, 0};

call_site site{{}, &watched_descriptor, {}};
small_image newer;  // takes over from `image`

process_state& process() { return own_object().process; }

/// Binds the site in `of` under id `id`, as its first hit would do.
uint64_t bind_site(small_image& of, uint64_t id) {
  while (of.super.next_id.value < id) publish_binding(of.view, first_descriptor, 256, 0);
  return site_word(watched_descriptor, bind(of.view, watched_descriptor));
}

void set_filter(const char* names) { process().names.store(names, ::strlen(names)); }

/// One image, a slot for each of two threads, and the site on or off.
void set_up(const char* names) {
  image.clear(2, 2);
  image.attach(0, first_tid);
  image.attach(1, first_tid + 1);
  image.start();
  image.open(0);
  image.open(1);
  process().objects = &own_object().types;
  own_object().types.next = nullptr;
  set_filter(names);
  site.bound.value = image.view.generation << 18 | bind_site(image, 1);
  resolve_site(process(), &image.view, own_object(), site);
}

// ---- filters -------------------------------------------------------------------------------------------------

/// Begins and ends a region, and says what its site's word was.
void record(unsigned slot) {
  stand_on(image, slot);
  note("begins a region");
  const open_region opened = begin_inline(site, nullptr);
  if (opened.at == nullptr) return;
  fact((running->own_value(&opened.at->start_ticks) << duration_shift) - opened.word);
  note("ends it");
  end_region(opened.at, opened.word);
}

std::string judge_filter(outcome& of, bool is_on) {
  const uint64_t bound = site.bound.value & site_word_mask;
  for (unsigned thread = 1; thread != of.threads(); ++thread) {
    const auto words = of.facts(thread);
    of.occurred(words.empty() ? "off" : "on");
    if (!words.empty() && words[0] != bound) return "a region was recorded as that of site word " + std::to_string(words[0]);
  }
  const uint64_t state = of.last(&site.word) - of.last(&own_object().epoch);
  if (is_less(state, 0) && state != site_off) return "";  // of an earlier epoch: it asks again
  if ((state == site_off) == is_on) return "a site keeps following the filter that was replaced";
  return "";
}

scenario filter(const char* name, void (*set_up_site)(), const char* names, bool is_on) {
  return {name,
          set_up_site,
          {variables()},
          {{"control",
            [=] {
              note("replaces the filter");
              set_filter(names);
              begin_epoch(process());
            }},
           {"A", [] { record(0); }},
           {"B", [] { record(1); }}},
          [=](outcome& of) { return judge_filter(of, is_on); },
          {"on", "off"},
          name_of,
          value_of};
}

scenario filter_goes_off() {
  return filter("filter_goes_off", [] { set_up(""); }, "other", false);
}

scenario filter_goes_on() {
  return filter("filter_goes_on", [] { set_up("other"); }, "", true);
}

// ---- another image ---------------------------------------------------------------------------------------------

open_region in_flight;

/// Stopped, with a region that has not ended yet; the next start makes an image of its own.
void set_up_restart() {
  set_up("");
  stand_on(image, 0);
  in_flight = begin_inline(site, nullptr);
  newer.clear(1, 1, 2);
  bind_site(newer, 2);
  process().recording.value = 0;
  begin_epoch(process());
}

/// The tail of flight_recorder::start, without the lock.
void take_over() {
  note("starts with a newer image");
  process().image.store_release(reinterpret_cast<uint64_t>(&newer.view));
  retire_image(image.view);
  process().recording.store_release(1);
  begin_epoch(process());
}

uint64_t records_in(outcome& of, const small_image& in, uint64_t site_word_there, std::string& wrong) {
  uint64_t records = 0;
  for (const chunk& each : in.chunks) {
    for (unsigned i = 0; i != 4; ++i) {
      const uint64_t word = of.last(&each.words[i]);
      if (word == 0) continue;
      ++records;
      if ((word & site_word_mask) != site_word_there) wrong = "a record carries an id of another image";
    }
  }
  return records;
}

scenario restart() {
  return {"restart_with_another_image",
          set_up_restart,
          {variables()},
          {{"control", take_over},
           {"recorder",
            [] {
              next_frame = in_flight.at + 1;
              note("ends the region from before");
              end_region(in_flight.at, in_flight.word);
              note("begins a region");
              const open_region opened = begin_inline(site, nullptr);
              if (opened.at == nullptr) return;
              fact(1);
              note("ends it");
              end_region(opened.at, opened.word);
            }},
           {"other", [] { resolve_site(process(), current_image(process()), own_object(), site); }}},
          [](outcome& of) {
            std::string wrong;
            records_in(of, image, 1 << id_shift | 1, wrong);
            uint64_t records = records_in(of, newer, 2 << id_shift | 1, wrong);
            if (!wrong.empty() || of.facts(1).empty()) return wrong;
            of.occurred(records != 0 ? "recorded" : "dropped");
            for (const atomic_word& count : newer.super.dropped) records += of.last(&count);
            return records != 0 ? "" : std::string("a region was lost that nobody counted");
          },
          {"recorded"},
          name_of,
          value_of};
}

/// A time epoch begins in a lane while its image is retired.
scenario epoch_in_retired() {
  return {"epoch_begins_while_retired",
          [] {
            image.clear(1, 1);
            image.attach(0, first_tid);
            image.start();
            image.open(0);
          },
          {variables()},
          {{"recorder",
            [] {
              note("begins a time epoch");
              set_epoch(process(), image.view, image.slots[0].frames, epoch_ticks);
            }},
           {"control",
            [] {
              note("retires the image");
              retire_image(image.view);
            }}},
          [](outcome& of) -> std::string {
            of.occurred("retired");
            return of.last(&image.slots[0].lanes[0].deadline) == 0 ? "" : "a thread goes on recording in a retired image";
          },
          {"retired"},
          name_of,
          value_of};
}

}  // namespace
}  // namespace model

int main(int count, char** arguments) {
  using namespace model;
  return run_scenarios({filter_goes_off(), filter_goes_on(), restart(), epoch_in_retired()}, count, arguments);
}
