# SPDX-License-Identifier: MIT
"""The converter's constants are those of image.hpp, and docs/format.md states them too."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from support import ROOT, contrail

LAYOUTS = {"superblock": contrail.SUPERBLOCK, "thread_slot": contrail.SLOT, "lane": contrail.LANE,
           "frame": contrail.FRAME, "chunk": contrail.CHUNK, "binding": contrail.BINDING,
           "binding_field": contrail.FIELD, "binding_enumerator": contrail.ENUMERATOR,
           "end_of_dump": contrail.END_OF_DUMP, "crash_note": contrail.CRASH, "stream_block": contrail.STREAM_BLOCK,
           "stream_state": contrail.STREAM_STATE, "switch_buffer": contrail.SWITCH_BUFFER}
CONSTANTS = {
    "sizeof(superblock)": contrail.SUPERBLOCK_BYTES, "sizeof(thread_slot)": contrail.SLOT_BYTES,
    "sizeof(frame)": contrail.FRAME_BYTES, "sizeof(lane)": contrail.LANE.size,
    "sizeof(binding)": contrail.BINDING.size, "sizeof(binding_field)": contrail.FIELD.size,
    "sizeof(binding_enumerator)": contrail.ENUMERATOR.size, "sizeof(end_of_dump)": contrail.END_OF_DUMP.size,
    "chunk_bytes": contrail.CHUNK_BYTES, "chunk_header_bytes": contrail.CHUNK_HEADER_BYTES,
    "lane_count": contrail.LANE_COUNT, "frame_count": contrail.FRAME_COUNT,
    "frame_payload_words": contrail.FRAME_PAYLOAD_WORDS,
    "__builtin_offsetof(frame, payload)": contrail.FRAME_PAYLOAD_OFFSET,
    "__builtin_offsetof(thread_slot, lanes)": contrail.LANES_OFFSET,
    "__builtin_offsetof(thread_slot, frames)": contrail.FRAMES_OFFSET,
    "epoch_ticks": contrail.EPOCH_TICKS, "string_cut": contrail.STRING_CUT,
    "~complement_of_image_magic": contrail.MAGIC,
    "format_major": contrail.FORMAT_MAJOR, "format_minor": contrail.FORMAT_MINOR,
    "binding_flag_cut": contrail.FLAG_CUT, "binding_flag_dynamic": contrail.FLAG_DYNAMIC,
    "image_kind::live": contrail.LIVE, "image_kind::dump": contrail.DUMP, "image_kind::stream": contrail.STREAM,
    "sizeof(stream_block)": contrail.STREAM_BLOCK.size, "sizeof(stream_state)": contrail.STREAM_STATE.size,
    "block_type::binding": contrail.BINDING_BLOCK, "block_type::slot": contrail.SLOT_BLOCK,
    "block_type::chunk": contrail.CHUNK_BLOCK, "block_type::state": contrail.STATE_BLOCK,
    "block_type::end": contrail.END_BLOCK, "block_type::span": contrail.SPAN_BLOCK,
    "stream_cause::none": contrail.NO_CAUSE,
    "stream_cause::stopped": contrail.BY_STOP, "stream_cause::failed": contrail.BY_FAILURE,
    "stream_cause::recorder": contrail.BY_RECORDER,
    "image_storage::memory": contrail.IN_MEMORY, "image_storage::file": contrail.IN_FILE,
    "image_end::none": contrail.NOT_ENDED, "image_end::stopped": contrail.STOPPED, "image_end::exited": contrail.EXITED,
    "crash_cause::none": contrail.NO_CRASH, "crash_cause::signal": contrail.BY_SIGNAL,
    "crash_cause::terminate": contrail.BY_TERMINATE, "sizeof(crash_note)": contrail.CRASH.size,
    "binding_kind::region": contrail.REGION, "binding_kind::instant": contrail.INSTANT,
    "binding_kind::counter": contrail.COUNTER, "binding_kind::log": contrail.LOG,
    "binding_kind::event_type": contrail.EVENT_TYPE, "binding_kind::overflow": contrail.OVERFLOW,
    "binding_kind::end_of_dump": contrail.END, "drop_reason::count": len(contrail.DROP_REASONS),
    "sizeof(switch_buffer)": contrail.SWITCH_BUFFER.size,
    "__builtin_offsetof(thread_slot, thread_state)": contrail.SLOT_THREAD_STATE,
    "state_recording::unwanted": contrail.STATES_UNWANTED, "state_recording::on": contrail.STATES_ON,
    "state_recording::refused": contrail.STATES_REFUSED, "state_recording::no_memory": contrail.STATES_NO_MEMORY,
    "thread_state::unknown": contrail.UNKNOWN_STATE, "thread_state::running": contrail.RUNNING,
    "thread_state::runnable": contrail.RUNNABLE, "thread_state::waiting": contrail.WAITING,
    "overflow_id": 0xFFFE, "id_shift": 2, "payload_region_id_shift": 6, "duration_shift": 18, "end_time_shift": 41,
    "long_form::epoch": 0, "long_form::anchor": 1, "long_form::region": 2, "long_form::point": 3,
    "long_form::async_region": 4, "long_header(long_form::anchor, 0, 4)": 0x107, "epoch_word(1 << 23)": 1 << 23 | 3,
    **{f"field_type::{name}": getattr(contrail, name.upper()) for name in
       ("boolean character int8 uint8 int16 uint16 int32 uint32 int64 uint64 int128 uint128 float32 float64 pointer "
        "string duration code_point").split()}}


def program():
    lines = ['#include "contrail/detail/stream.hpp"', "#include <stdio.h>", "using namespace contrail::detail;",
             "using contrail::field_type;", "int main() {"]
    for struct, layout in LAYOUTS.items():
        for member in layout.offsets:
            lines.append(f'printf("{struct}.{member}=%llu\\n", '
                         f'(unsigned long long)__builtin_offsetof({struct}, {member}));')
    for expression in CONSTANTS:
        lines.append(f'printf("{expression}=%llu\\n", (unsigned long long)({expression}));')
    return "\n".join(lines + ["}"])


class Format(unittest.TestCase):
    def test_the_converter_has_the_offsets_and_constants_of_image_hpp(self):
        compiler = shutil.which("g++") or shutil.which("clang++")
        include = os.path.join(ROOT, "include")
        if not compiler or not os.path.isdir(include):
            self.skipTest("no C++ compiler, or no headers")
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "offsets.cpp")
            with open(source, "w") as file:
                file.write(program())
            built = subprocess.run([compiler, "-std=c++20", "-I", include, source, "-o", source[:-4]],
                                   capture_output=True, text=True)
            self.assertEqual(built.returncode, 0, built.stderr)
            out = subprocess.run([source[:-4]], capture_output=True, text=True, check=True).stdout
        real = {key: int(value) for key, _, value in (line.rpartition("=") for line in out.splitlines())}
        ours = dict(CONSTANTS)
        ours.update({f"{struct}.{member}": at for struct, layout in LAYOUTS.items()
                     for member, at in layout.offsets.items()})
        self.assertEqual(ours, real)

    def test_format_md_lists_every_member_at_its_offset(self):
        with open(os.path.join(ROOT, "docs", "format.md"), encoding="utf-8") as file:
            text = file.read()
        for struct, layout in LAYOUTS.items():
            section = re.search(rf"^#+ [^\n]*`{struct}`[^\n]*$(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
            self.assertTrue(section, f"format.md has no section about `{struct}`")
            stated = {name: int(at) for at, names in re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|", section.group(1),
                                                               re.MULTILINE) for name in re.findall(r"`(\w+)`", names)}
            stated = {name: at for name, at in stated.items() if name in layout.offsets}
            self.assertEqual(stated, {n: at for n, at in layout.offsets.items() if not n.startswith("reserved")
                                      or n in stated}, struct)


if __name__ == "__main__":
    unittest.main()
