// SPDX-License-Identifier: MIT
// Sessions: a chunk is copied piece by piece while it is written, sealed, taken and written anew. Each record is in a
// piece once, or counted as lost.
#include "chunk_log.hpp"

#include "contrail/detail/session_copy.hpp"

namespace model {

long (*system_call)(long, long) = nullptr;

namespace {

/// Of the one session.
struct {
  session_marks head;
  atomic_word marks[most_chunks];
} session_memory;

struct piece_room {
  alignas(64) char bytes[longest_piece_bytes];
};

/// A pool of one chunk, open, and a session of what is sealed since a moment.
void set_up(bool is_blocking, uint64_t begin_ticks) {
  image.clear(1, 1);
  image.start();
  image.attach(0, first_tid);
  image.open(0);
  ::memset(static_cast<void*>(&session_memory), 0, sizeof session_memory);
  session_memory.head.in_use.value = 1;
  session_memory.head.is_blocking.value = is_blocking;
  session_memory.head.begin_ticks.value = begin_ticks;
  image.view.watch.value = reinterpret_cast<uint64_t>(&the_recycling_watch);
  image.view.sessions.value = reinterpret_cast<uint64_t>(&session_memory);
}

/// Says what it copied: ticket, bytes before the first word, words.
void look() {
  note("looks at the chunk");
  piece_room& room = own_memory<piece_room>();
  const chunk_piece made = copy_piece(room.bytes, image.view, 0, session_memory.head, true);
  if (made.bytes == 0) return log(torn, {0});
  stream_block block;
  ::memcpy(&block, room.bytes, sizeof block);
  const chunk& head = *reinterpret_cast<const chunk*>(room.bytes + sizeof block);
  const uint64_t words = (block.bytes - chunk_header_bytes) / 8;
  facts({accepted, words + 3, head.ticket.value, block.begin, made.records});
  for (uint64_t i = 0; i != words; ++i) fact(head.words[i].value);
}

/// Whether pieces follow each other, hold what was written, and make up the sum with what was lost.
std::string judge(outcome& of, unsigned records) {
  std::map<std::pair<uint64_t, uint64_t>, uint64_t> wrote;
  std::map<uint64_t, uint64_t> written_in, copied_in;
  const std::span<const uint64_t> writer = of.facts(0);
  uint64_t dropped_records = 0;
  for (size_t at = 0; at != writer.size(); at += 2 + writer[at + 1]) {
    const uint64_t* const value = &writer[at + 2];
    if (writer[at] == dropped) ++dropped_records;
    if (writer[at] != written || value[1] < header_words) continue;
    wrote[{value[0], value[1]}] = value[2];
    ++written_in[value[0]];
  }
  const std::span<const uint64_t> session = of.facts(1);
  for (size_t at = 0; at != session.size(); at += 2 + session[at + 1]) {
    if (session[at] != accepted) continue;
    const uint64_t ticket = session[at + 2], begin = session[at + 3], words = session[at + 1] - 3;
    uint64_t& copied = copied_in[ticket];
    if (begin != chunk_header_bytes + 8 * copied) return "a piece does not begin where the one before ended";
    const bool is_all_its_own = session_memory.head.begin_ticks.value == 0;  // else none of them is
    if (session[at + 4] != (is_all_its_own ? words : 0)) return "a piece's records are counted wrong";
    for (uint64_t i = 0; i != words; ++i) {
      const auto found = wrote.find({ticket, begin / 8 + i});
      if (found == wrote.end() || found->second != session[at + 5 + i]) return "a piece has a word that nobody wrote";
    }
    copied += words;
  }
  uint64_t gone = 0;
  const uint64_t last = ticket_of(of.last(&image.states[0]));
  for (const auto& [ticket, count] : written_in) {
    if (ticket != last && session_memory.head.begin_ticks.value == 0) gone += count - copied_in[ticket];
  }
  const uint64_t lost = of.last(&session_memory.head.lost) & lost_mask;
  if (lost != gone) return std::to_string(gone) + " records are missing, and " + std::to_string(lost) + " counted";
  if (lost != 0 && session_memory.head.is_blocking.value != 0) return "a record was overwritten that was held back";
  if (wrote.size() + dropped_records != records) return "a record was lost that nobody counted";
  of.occurred(lost != 0 ? "lost" : copied_in.empty() ? "nothing new" : "copied");
  of.occurred(dropped_records != 0 ? "held back" : "recycled");
  return "";
}

scenario streamed(const char* name, void (*begin)(), unsigned looks, std::vector<const char*> cases) {
  return {name,
          begin,
          {variables()},
          {{"writer",
            [] {
              write(image.slots[0].lanes[0], 1, 100);
              write(image.slots[0].lanes[0], 1, 101);
              if (roll(0, 10'000)) write(image.slots[0].lanes[0], 1, 200);
            }},
           {"session",
            [=] {
              for (unsigned i = 0; i != looks; ++i) look();
            }}},
          [](outcome& of) { return judge(of, 3); },
          std::move(cases),
          name_of,
          value_of};
}

}  // namespace
}  // namespace model

int main(int count, char** arguments) {
  using namespace model;
  return run_scenarios({streamed("piece_while_recycled", [] { set_up(false, 0); }, is_long() ? 3 : 2, {"lost", "copied", "recycled"}),
                        // Its owner had read the clock before the session began, and sealed it afterwards.
                        streamed("piece_of_an_earlier_chunk", [] { set_up(false, 20'000); }, 1, {"copied", "recycled"}),
                        streamed("piece_or_held_back", [] { set_up(true, 0); }, 1, {"copied", "recycled", "held back"})},
                       count, arguments);
}
