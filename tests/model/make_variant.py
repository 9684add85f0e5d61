#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Copies contrail's headers for the model check: as they are, or with one mistake put in.

    make_variant.py FROM TO            the real code
    make_variant.py FROM TO MUTANT     with one line of it made wrong, which the checker must find
    make_variant.py --list             the mutants: name, program, scenario that must fail

Each replacement has to fit exactly once: when a line changes, its mutant must be looked at again.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Change:
    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    name: str
    program: str
    scenario: str
    changes: list[Change]


# Assembly, which the explorer cannot see: the same stores, written as such.
SEEN = [
    Change(
        "ring.hpp",
        'asm volatile("movq %%rsp, %0" : "=m"(to.value));',
        "to.store_relaxed(uint64_t{1} << 46);",
    ),
    Change(
        "ring.hpp",
        'asm volatile("movq %%rsp, %0\\n\\tbtsq $62, %0" : "=r"(mark) : : "cc");',
        "mark = uint64_t{1} << 46 | point_mark;",
    ),
]

EXTENT_FIRST = """  uint64_t end_bytes = extent_bytes(from.extent.load_acquire());
  if (end_bytes == 0) {"""
COPY = "  for (uint64_t i = 0; i < count; ++i) words[i].value = source[i].load_relaxed();"
SECOND_LOOK = "  if (ticket_of(after) != ticket_of(before) || state_of(after) == chunk_state::taking) return invalid();"
TAKER_FENCE = """    __atomic_thread_fence(__ATOMIC_RELEASE);
    candidate.ticket.store_relaxed(0);"""
TAKE = """    if (!state.compare_exchange(found, state_word(ticket, chunk_state::taking))) continue;
"""

MUTANTS = [
    # ---- chunks ----
    Mutant("cursor_store_relaxed", "chunks", "append_while_copied",
           [Change("lane.hpp", "writer.cursor.store_release(reinterpret_cast<uint64_t>(cursor + count));",
                   "writer.cursor.store_relaxed(reinterpret_cast<uint64_t>(cursor + count));")]),
    Mutant("cursor_load_relaxed", "chunks", "append_while_copied",
           [Change("snapshot.hpp", "const uint64_t cursor = writer->cursor.load_acquire();",
                   "const uint64_t cursor = writer->cursor.load_relaxed();")]),
    Mutant("extent_after_the_bytes", "chunks", "append_while_copied",
           [Change("snapshot.hpp", EXTENT_FIRST,
                   "  for (uint64_t i = 0; i < 20; ++i) words[i].value = "
                   "reinterpret_cast<const atomic_word*>(&from)[i].load_relaxed();\n"
                   "  __atomic_thread_fence(__ATOMIC_ACQUIRE);\n" + EXTENT_FIRST),
            Change("snapshot.hpp", COPY, "  (void)source;")]),
    Mutant("taker_fence_dropped", "chunks", "recycle_while_copied",
           [Change("pool.hpp", TAKER_FENCE, "    candidate.ticket.store_relaxed(0);")]),
    Mutant("header_before_taking", "chunks", "recycle_while_copied",
           [Change("pool.hpp", TAKE, "    header(candidate);\n" + TAKE)]),
    Mutant("state_not_looked_at_again", "chunks", "recycle_while_copied",
           [Change("snapshot.hpp", SECOND_LOOK, "  (void)after;")]),
    Mutant("taking_not_looked_at", "chunks", "recycle_while_copied",
           [Change("snapshot.hpp", SECOND_LOOK,
                   "  if (state_of(after) != state_of(before)) return invalid();")]),
    Mutant("reader_fence_dropped", "chunks", "recycle_while_copied",
           [Change("snapshot.hpp", "  __atomic_thread_fence(__ATOMIC_ACQUIRE);\n  const uint64_t after",
                   "  const uint64_t after")]),
    Mutant("open_stored_relaxed", "chunks", "recycle_while_copied",
           [Change("pool.hpp", "state.store_release(state_word(ticket, chunk_state::open));",
                   "state.store_relaxed(state_word(ticket, chunk_state::open));")]),
    Mutant("old_ticket_not_skipped", "chunks", "delayed_taker",
           [Change("pool.hpp", "    if (ticket_of(found) >= ticket) continue;\n", "")]),
    Mutant("taken_without_exchange", "chunks", "two_takers",
           [Change("pool.hpp", TAKE, "    state.store_release(state_word(ticket, chunk_state::taking));\n")]),
    Mutant("overwriting_not_noted", "chunks", "delayed_taker",
           [Change("pool.hpp", "note_overwritten(super, candidate.sealed_ticks.load_relaxed());", "{}")]),
    Mutant("sealed_stored_relaxed", "chunks", "two_takers",
           [Change("pool.hpp", "image.chunk_states[index].store_release(", "image.chunk_states[index].store_relaxed(")]),
    # ---- sessions ----
    Mutant("piece_not_looked_at_again", "sessions", "piece_of_an_earlier_chunk",
           [Change("session_copy.hpp",
                   "  if (ticket_of(after) != ticket || state_of(after) == chunk_state::taking) return {};",
                   "  (void)after;")]),
    Mutant("piece_fence_dropped", "sessions", "piece_of_an_earlier_chunk",
           [Change("session_copy.hpp", "  __atomic_thread_fence(__ATOMIC_ACQUIRE);\n", "")]),
    Mutant("mark_without_exchange", "sessions", "piece_while_recycled",
           [Change("session_copy.hpp", "  if (!marks[index].compare_exchange(mark, fresh)) return {};",
                   "  marks[index].store_relaxed(fresh);")]),
    Mutant("recycled_not_marked", "sessions", "piece_while_recycled",
           [Change("session_marks.hpp",
                   "    while (!mark.compare_exchange(found, mark_word(ticket, all_copied, 0))) {\n    }\n", "")]),
    Mutant("copied_records_counted_as_lost", "sessions", "piece_while_recycled",
           [Change("session_marks.hpp", "const uint64_t lost = records - known;", "const uint64_t lost = records;")]),
    Mutant("piece_cursor_relaxed", "sessions", "piece_while_recycled",
           [Change("session_copy.hpp", "writer->cursor.load_acquire()", "writer->cursor.load_relaxed()")]),
    Mutant("counted_after_the_header", "sessions", "piece_while_recycled",
           [Change("pool.hpp", "    if (watch != nullptr) watch->count(",
                   "    candidate.extent.store_relaxed(0);\n    if (watch != nullptr) watch->count(")]),
    Mutant("not_held_back", "sessions", "piece_or_held_back",
           [Change("session_marks.hpp",
                   "    if (marked_words((*session)[index].load_relaxed(), ticket) != all_copied) return true;\n",
                   "    static_cast<void>(ticket);\n")]),
    # ---- frames ----
    Mutant("frame_start_stored_relaxed", "frames", "region_reused_while_copied",
           [Change("ring.hpp", "  at->start_ticks.store_release(start);\n  return {at, word};",
                   "  at->start_ticks.store_relaxed(start);\n  return {at, word};")]),
    Mutant("payload_fence_dropped", "frames", "region_reused_while_copied",
           [Change("ring.hpp", "start again.\n    __atomic_thread_fence(__ATOMIC_RELEASE);", "start again.")]),
    Mutant("slow_begin_fence_dropped", "frames", "slow_region_reused_while_copied",
           [Change("ring.hpp", "  __atomic_thread_fence(__ATOMIC_RELEASE);  // as in begin_inline\n", "")]),
    Mutant("frame_word_stored_relaxed", "frames", "plain_region_reused_while_copied",
           [Change("ring.hpp", "at->word.store_release(word);", "at->word.store_relaxed(word);")]),
    Mutant("frame_not_looked_at_again", "frames", "plain_region_reused_while_copied",
           [Change("snapshot.hpp", "  if (from.start_ticks.load_acquire() != start) return;", "")]),
    Mutant("payload_loaded_relaxed", "frames", "field_set_while_copied",
           [Change("snapshot.hpp", "from.payload[i].load_acquire()", "from.payload[i].load_relaxed()")]),
    Mutant("field_stored_relaxed", "frames", "field_set_while_copied",
           [Change("call_site.hpp", "to->store_release(header);  // as in", "to->store_relaxed(header);  // as in")]),
    Mutant("fields_ended_too_late", "frames", "field_set_while_copied",
           [Change("ring.hpp", "    if (HasFields && used < frame_payload_words) at->payload[used].store_relaxed(0);\n", ""),
            Change("ring.hpp", "  at->start_ticks.store_release(start);\n  return {at, word};",
                   "  at->start_ticks.store_release(start);\n"
                   "  if (HasFields) at->payload[0].store_relaxed(0);\n  return {at, word};")]),
    Mutant("frame_freed_relaxed", "frames", "region_ends_during_dump",
           [Change("ring.hpp", "before chunks.\n  at->start_ticks.store_release(0);",
                   "before chunks.\n  at->start_ticks.store_relaxed(0);")]),
    Mutant("frame_second_look_relaxed", "frames", "region_ends_during_dump",
           [Change("snapshot.hpp", "  if (from.start_ticks.load_acquire() != start) return;",
                   "  if (from.start_ticks.load_relaxed() != start) return;")]),
    # ---- slots ----
    Mutant("seal_fence_dropped", "slots", "slot_reused_while_copied",
           [Change("lane.hpp", "Pairs with copy_slot.\n  __atomic_thread_fence(__ATOMIC_RELEASE);", "Pairs with copy_slot.")]),
    Mutant("claim_fence_dropped", "slots", "slot_freed_by_another",
           [Change("threads.hpp", "    __atomic_thread_fence(__ATOMIC_RELEASE);  // as in seal_slot\n", "")]),
    Mutant("slot_not_looked_at_again", "slots", "slot_reused_while_copied",
           [Change("snapshot.hpp", "  if (from.state.load_relaxed() != state) {", "  if (state == 0) {")]),
    Mutant("slot_reader_fence_dropped", "slots", "idle_slot_reused_while_copied",
           [Change("snapshot.hpp", "  __atomic_thread_fence(__ATOMIC_ACQUIRE);  // all of the copy stays above the second look\n",
                   "")]),
    Mutant("live_stored_relaxed", "slots", "attach_while_dumped",
           [Change("threads.hpp", "    if (slot.state.compare_exchange(claimed, live)) return {&slot, live};",
                   "    slot.state.store_relaxed(live);\n    return {&slot, live};")]),
    Mutant("cursor_cleared_relaxed", "slots", "chunk_of_ended_thread",
           [Change("lane.hpp", "writer.cursor.store_release(0);", "writer.cursor.store_relaxed(0);")]),
    # ---- epochs ----
    Mutant("site_word_acquire_dropped", "epochs", "filter_goes_off",
           [Change("atomic.hpp", "uint64_t result = a.load_acquire();", "uint64_t result = a.load_relaxed();")]),
    Mutant("site_word_stored_relaxed", "epochs", "filter_goes_on",
           [Change("threads.hpp", "site.word.store_release(epoch + (quick", "site.word.store_relaxed(epoch + (quick")]),
    Mutant("site_off_stored_relaxed", "epochs", "filter_goes_off",
           [Change("threads.hpp", "site.word.store_release(epoch + site_off);", "site.word.store_relaxed(epoch + site_off);")]),
    Mutant("epoch_stored_relaxed", "epochs", "filter_goes_off",
           [Change("process.hpp", "object_of(*object).epoch.store_release(epoch);",
                   "object_of(*object).epoch.store_relaxed(epoch);")]),
    Mutant("epoch_read_after_filters", "epochs", "filter_goes_off",
           [Change("threads.hpp", "  const uint64_t epoch = object.epoch.load_acquire();\n",
                   "  uint64_t epoch = object.epoch.load_relaxed();\n"),
            Change("threads.hpp", "    site.word.store_release(epoch + site_off);",
                   "    epoch = object.epoch.load_acquire();\n    site.word.store_release(epoch + site_off);"),
            Change("threads.hpp", "  if (!is_bound) {", "  epoch = object.epoch.load_acquire();\n  if (!is_bound) {")]),
    Mutant("deadline_fence_dropped", "epochs", "epoch_begins_while_retired",
           [Change("lane.hpp", "  __atomic_thread_fence(__ATOMIC_SEQ_CST);\n", "")]),
    Mutant("retire_fence_dropped", "epochs", "epoch_begins_while_retired",
           [Change("start.hpp", "  __atomic_thread_fence(__ATOMIC_SEQ_CST);\n", "")]),
    Mutant("retire_fence_weakened", "epochs", "epoch_begins_while_retired",
           [Change("start.hpp", "  __atomic_thread_fence(__ATOMIC_SEQ_CST);\n",
                   "  __atomic_thread_fence(__ATOMIC_ACQ_REL);\n")]),
    Mutant("recording_loaded_relaxed", "epochs", "restart_with_another_image",
           [Change("threads.hpp", "is_recording = process.recording.load_acquire() != 0;",
                   "is_recording = process.recording.load_relaxed() != 0;")]),
    Mutant("site_word_acquire_dropped_at_start", "epochs", "restart_with_another_image",
           [Change("atomic.hpp", "uint64_t result = a.load_acquire();", "uint64_t result = a.load_relaxed();")]),
]


def main() -> int:
    if sys.argv[1:] == ["--list"]:
        for mutant in MUTANTS:
            print(mutant.name, mutant.program, mutant.scenario)
        return 0
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    changes = list(SEEN)
    if len(sys.argv) > 3:
        changes += next(mutant.changes for mutant in MUTANTS if mutant.name == sys.argv[3])
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source / "contrail", target / "contrail")
    for change in changes:
        path = target / "contrail" / "detail" / change.file
        text = path.read_text(encoding="utf-8")
        if text.count(change.old) != 1:
            sys.exit(f"make_variant.py: {change.file} holds this {text.count(change.old)} times, not once:\n{change.old}")
        path.write_text(text.replace(change.old, change.new), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
