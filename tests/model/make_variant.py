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
    Mutant("sealed_stored_relaxed", "chunks", "two_takers",
           [Change("pool.hpp", "image.chunk_states[index].store_release(", "image.chunk_states[index].store_relaxed(")]),
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
