# SPDX-License-Identifier: MIT
"""What the converter makes of each kind of record, on images built in memory."""
import json
import os
import stat
import subprocess
import sys
import tempfile
import unittest
from decimal import Decimal

from support import CONVERTER, convert, run, run_on
from image_builder import (BOOL, CHAR, CODE_POINT, COUNTER, DOUBLE, DURATION, DYNAMIC, EPOCH_TICKS, EVENT_TYPE, FLOAT,
                           INSTANT, INT8, INT16, INT32, INT64, INT128, LOG, OVERFLOW, POINTER, REGION, STRING, UINT8,
                           UINT64, UINT128, ImageBuilder)


class Base(unittest.TestCase):
    """An image whose clock runs at 1 tick per ns, so that ticks are nanoseconds."""

    def setUp(self):
        self.image = ImageBuilder(tick_hz=10**9)
        self.t0 = self.image.start + 10_000
        self.thread = self.image.thread(7, "main")
        self.a = self.image.bind(REGION, "a", category="net")
        self.b = self.image.bind(REGION, "b")
        self.c = self.image.bind(REGION, "c")

    def region(self, binding, start, end, *values, **more):
        (more.pop("thread", None) or self.thread).region(binding, self.t0 + start, self.t0 + end, *values, **more)

    def point(self, binding, time, *values, **more):
        (more.pop("thread", None) or self.thread).point(binding, self.t0 + time, *values, **more)


class Regions(Base):
    def test_a_region_has_its_name_category_and_times(self):
        self.region(self.a, 0, 1500)
        trace = convert(self.image.dump())
        event = trace.one("X")
        self.assertEqual((event["name"], event["cat"], event["ts"], event["dur"]),
                         ("a", "net", Decimal("0.000"), Decimal("1.500")))
        self.assertEqual((event["pid"], event["tid"]), (4242, 7))
        self.assertNotIn("args", event)

    def test_inner_regions_follow_their_outer_region(self):
        self.region(self.c, 20, 40)
        self.region(self.b, 10, 50)
        self.region(self.b, 60, 70)
        self.region(self.a, 0, 100)
        self.assertEqual(convert(self.image.dump()).slices(),
                         [("a", 0, 100, 7), ("b", 10, 50, 7), ("c", 20, 40, 7), ("b", 60, 70, 7)])

    def test_regions_that_end_together_end_one_nanosecond_apart(self):
        self.region(self.c, 20, 100)
        self.region(self.b, 20, 100)
        self.region(self.a, 0, 100)
        self.assertEqual(convert(self.image.dump()).slices(),
                         [("a", 0, 100, 7), ("b", 20, 99, 7), ("c", 20, 98, 7)])

    def test_the_region_that_ended_last_is_the_outer_one_of_two_alike(self):
        self.region(self.b, 0, 100)
        self.region(self.a, 0, 100)
        self.assertEqual(convert(self.image.dump()).slices(), [("a", 0, 100, 7), ("b", 0, 99, 7)])

    def test_regions_that_touch_stay_one_nanosecond_apart(self):
        self.region(self.a, 0, 100)
        self.region(self.c, 100, 150)
        self.region(self.b, 100, 200)
        self.assertEqual(convert(self.image.dump()).slices(),
                         [("a", 0, 100, 7), ("b", 101, 200, 7), ("c", 101, 150, 7)])

    def test_regions_of_no_length_never_get_a_negative_one(self):
        for _ in range(3):
            self.region(self.b, 0, 0)
        self.region(self.c, 0, 1)
        self.region(self.c, 1, 1)
        self.region(self.a, 0, 1)
        self.region(self.b, 1, 1)
        self.assertEqual(len(convert(self.image.dump()).slices()), 7)

    def test_regions_that_overlap_get_a_track_of_their_own(self):
        self.region(self.a, 0, 100)
        self.region(self.b, 50, 150)
        self.region(self.c, 60, 70)
        trace = convert(self.image.dump())
        self.assertEqual([s[:3] for s in trace.slices()], [("a", 0, 100), ("c", 60, 70)])
        self.assertEqual((trace.one("b")["ts"], trace.one("e")["ts"]), (Decimal("0.050"), Decimal("0.150")))

    def test_all_forms_of_a_region_read_the_same(self):
        w = self.image.bind(REGION, "w", fields=[("n", INT32)], id=300)
        x = self.image.bind(REGION, "x", fields=[("n", INT32)], id=5000)
        self.region(w, 0, 10, [1])
        self.region(x, 20, 30, [2])
        self.region(w, 40, 50, [3], form="long")
        self.region(self.a, 60, 60 + EPOCH_TICKS)
        trace = convert(self.image.dump())
        self.assertEqual([(e["name"], e.get("args")) for e in trace.of("X")],
                         [("w", {"n": 1}), ("x", {"n": 2}), ("w", {"n": 3}), ("a", None)])
        self.assertEqual(trace.slices()[3][1:3], (60, 60 + EPOCH_TICKS))

    def test_times_hold_across_time_epochs_and_chunks(self):
        times = [(i * 3_000_017, i * 3_000_017 + 1000) for i in range(1200)]
        for start, end in times:
            self.region(self.a, start, end)
        trace = convert(self.image.dump())
        self.assertEqual([s[1:3] for s in trace.slices()], times)

    def test_a_region_ended_on_another_thread_is_an_async_pair(self):
        self.image.thread(8, "other").async_region(self.a, self.t0, self.t0 + 500, begin_tid=7)
        self.region(self.b, 100, 200)
        trace = convert(self.image.dump())
        begin, end = trace.one("b"), trace.one("e")
        self.assertEqual((begin["name"], begin["ts"], end["ts"]), ("a", 0, Decimal("0.500")))
        self.assertEqual(begin["args"], {"begun on tid": 7})

    def test_an_id_without_a_binding_is_shown_with_a_warning(self):
        self.region(self.a, 0, 100)
        self.image.bindings.clear()
        trace = convert(self.image.dump(), code=1)
        self.assertEqual(trace.one("X")["name"], "unknown #1")
        self.assertIn("no binding", trace.err)

    def test_the_overflow_id_has_a_name(self):
        overflow = self.image.bind(OVERFLOW, "(too many call sites)", id=0xFFFE)
        self.region(overflow, 0, 10)
        self.assertEqual(convert(self.image.dump()).one("X")["name"], "(too many call sites)")

    def test_names_that_divert_speedscope_are_changed(self):
        self.region(self.image.bind(REGION, "Profile"), 0, 10)
        self.assertEqual(convert(self.image.dump()).one("X")["name"], "Profile ")

    def test_names_are_escaped_and_repaired(self):
        self.region(self.image.bind(REGION, b'q"\\\n\x01\xff\xc3\xa9'), 0, 10)
        self.assertEqual(convert(self.image.dump()).one("X")["name"], 'q"\\\n\x01\ufffd\u00e9')

    def test_late_and_repeated_bindings_are_found(self):
        late = self.image.bind(REGION, "late", late=True)
        self.image.bind(REGION, "late", late=True)
        self.region(late, 0, 10)
        self.assertEqual(convert(self.image.dump()).one("X")["name"], "late")


class Unfinished(Base):
    def test_open_regions_end_at_the_dump_and_say_so(self):
        w = self.image.bind(REGION, "w", fields=[("n", INT32)])
        self.thread.open(self.a, self.t0)
        self.thread.open(w, self.t0 + 10, [42])
        self.region(self.b, 20, 30)
        trace = convert(self.image.dump(at=self.t0 + 1000))
        self.assertEqual(trace.slices(), [("a", 0, 1000, 7), ("w", 10, 999, 7), ("b", 20, 30, 7)])
        self.assertEqual(trace.one("X", "a")["args"], {"unfinished": True})
        self.assertEqual(trace.one("X", "w")["args"], {"n": 42, "unfinished": True})

    def test_open_regions_contain_what_ended_while_the_dump_was_written(self):
        self.thread.open(self.a, self.t0)
        self.region(self.b, 20, 1500)
        trace = convert(self.image.dump(at=self.t0 + 1000))
        self.assertEqual(trace.slices(), [("a", 0, 1500, 7), ("b", 20, 1499, 7)])

    def test_a_region_that_is_both_open_and_recorded_is_shown_once(self):
        self.thread.open(self.a, self.t0)
        self.region(self.a, 0, 1500)
        self.assertEqual(convert(self.image.dump(at=self.t0 + 1000)).slices(), [("a", 0, 1500, 7)])

    def test_an_open_region_that_ended_on_another_thread_is_shown_once(self):
        self.thread.open(self.a, self.t0)
        self.image.thread(8, "other").async_region(self.a, self.t0, self.t0 + 500, begin_tid=7)
        trace = convert(self.image.dump(at=self.t0 + 1000))
        self.assertEqual((trace.slices(), len(trace.of("b"))), ([], 1))

    def test_all_site_words_are_understood(self):
        payload = self.image.bind(REGION, "payload", fields=[("n", INT32)], id=0xFFF)
        long = self.image.bind(REGION, "long", fields=[("n", INT32)], id=0xFFFD)
        plain = self.image.bind(REGION, "plain", id=0xFFFC)
        for i, (binding, values) in enumerate([(payload, [1]), (long, [2]), (plain, [])]):
            self.thread.open(binding, self.t0 + i, values)
        trace = convert(self.image.dump())
        self.assertEqual([(e["name"], e["args"].get("n")) for e in trace.of("X")],
                         [("payload", 1), ("long", 2), ("plain", None)])

    def test_no_args_still_tells_unfinished_regions(self):
        w = self.image.bind(REGION, "w", fields=[("n", INT32)])
        self.thread.open(w, self.t0, [42])
        self.region(w, 20, 30, [1])
        trace = convert(self.image.dump(), "--no-args")
        self.assertEqual([e.get("args") for e in trace.of("X")], [{"unfinished": True}, None])

    def test_the_frames_of_a_free_slot_are_not_read(self):
        self.thread.open(self.a, self.t0)
        self.thread.state = 0
        self.assertEqual(convert(self.image.dump()).slices(), [])


class Points(Base):
    def test_an_instant_has_thread_scope(self):
        self.point(self.image.bind(INSTANT, "tick", fields=[("n", INT32)]), 0, [5])
        event = convert(self.image.dump()).one("i")
        self.assertEqual((event["name"], event["s"], event["args"]), ("tick", "t", {"n": 5}))

    def test_a_counter_is_one_series_in_order_of_time(self):
        queue = self.image.bind(COUNTER, "queue", fields=[("value", INT64)])
        other = self.image.thread(8, "other")
        for i in range(4):
            self.point(queue, i * 100, [i])
            self.point(queue, i * 100 + 50, [-i], thread=other)
        values = [(int(e["ts"] * 1000), e["args"]) for e in convert(self.image.dump()).of("C")]
        self.assertEqual(values[:3], [(0, {"value": 0}), (50, {"value": 0}), (100, {"value": 1})])
        self.assertEqual(len(values), 8)

    def test_a_log_is_named_after_its_message(self):
        log = self.image.bind(LOG, "{} of {:.2f} {{}}", fields=[("0", STRING), ("1", DOUBLE)])
        self.point(log, 0, ["w\u00f6rld", 1.0])
        event = convert(self.image.dump()).one("i")
        self.assertEqual((event["name"], event["args"]["message"]), ("w\u00f6rld of 1.00 {}",) * 2)

    def test_a_long_message_is_whole_in_the_arguments(self):
        self.point(self.image.bind(LOG, "{}", fields=[("0", STRING)]), 0, ["x" * 500])
        event = convert(self.image.dump()).one("i")
        self.assertEqual((event["name"], event["args"]["message"]), ("x" * 120 + "\u2026", "x" * 500))

    def test_a_typed_event_has_its_fields(self):
        point = self.image.bind(EVENT_TYPE, "app::point", type_id=9, fields=[("x", INT32), ("y", FLOAT)])
        self.point(point, 0, [-1, 0.1])
        event = convert(self.image.dump()).one("i")
        self.assertEqual((event["name"], event["args"]), ("app::point", {"x": -1, "y": Decimal("0.1")}))

    def test_a_long_point_reads_like_a_short_one(self):
        big = self.image.bind(EVENT_TYPE, "big", fields=[("s", STRING)])
        self.point(big, 0, ["y" * 3000])
        self.assertEqual(convert(self.image.dump()).one("i")["args"], {"s": "y" * 3000})


class Arguments(Base):
    def arguments(self, fields, values, **more):
        self.region(self.image.bind(REGION, "w", fields=fields, **more.pop("bind", {})), 0, 10, values, **more)
        return convert(self.image.dump()).one("X")["args"]

    def test_every_type_is_shown(self):
        fields = [("bool", BOOL), ("char", CHAR), ("i8", INT8), ("i64", INT64), ("u64", UINT64), ("i128", INT128),
                  ("u128", UINT128), ("f", FLOAT), ("d", DOUBLE), ("p", POINTER), ("s", STRING), ("t", DURATION),
                  ("c", CODE_POINT)]
        values = [True, 65, -5, 2**53, 2**53 + 1, -1, 2**127, 0.1, 1e300, 0xDEADBEEF, "h\u00e9", 1_500_000, 0x1F600]
        self.assertEqual(self.arguments(fields, values), {
            "bool": True, "char": "A", "i8": -5, "i64": 2**53, "u64": str(2**53 + 1), "i128": -1, "u128": str(2**127),
            "f": Decimal("0.1"), "d": Decimal("1e300"), "p": "0xdeadbeef", "s": "h\u00e9", "t": "1.5 ms",
            "c": "\U0001F600"})

    def test_values_json_does_not_know_are_strings(self):
        inf, nan = float("inf"), float("nan")
        self.assertEqual(self.arguments([("a", DOUBLE), ("b", DOUBLE), ("c", FLOAT)], [nan, inf, -inf]),
                         {"a": "NaN", "b": "Infinity", "c": "-Infinity"})

    def test_durations_are_exact(self):
        values = [0, 999, -1000, 1_234_567, 61 * 10**9, -(2**63)]
        self.assertEqual(list(self.arguments([(str(i), DURATION) for i in range(6)], values).values()),
                         ["0 ns", "999 ns", "-1 us", "1.234567 ms", "61 s", "-9223372036.854775808 s"])

    def test_enumerations_are_shown_by_name_where_it_is_known(self):
        self.assertEqual(self.arguments([("a", UINT8, None, {1: "red"}), ("b", UINT8, None, {1: "red"}),
                                         ("c", INT16, 2, {-1: "no"})], [1, 2, [-1, 7]]),
                         {"a": "red", "b": 2, "c": ["no", 7]})

    def test_arrays_and_strings_in_arrays_are_lists(self):
        self.assertEqual(self.arguments([("a", INT16, 3), ("b", STRING, 2), ("c", STRING)],
                                        [[1, 2, 3], ["x", "yz"], "end"]),
                         {"a": [1, 2, 3], "b": ["x", "yz"], "c": "end"})

    def test_a_cut_string_ends_in_an_ellipsis(self):
        self.assertEqual(self.arguments([("s", STRING)], [("abc",)]), {"s": "abc\u2026"})

    def test_invalid_utf8_is_replaced(self):
        self.assertEqual(self.arguments([("s", STRING), ("c", CHAR)], [b"a\xffb", 0xC3]),
                         {"s": "a\ufffdb", "c": "\ufffd"})

    def test_fields_set_at_run_time_follow_and_win(self):
        self.assertEqual(self.arguments([("n", INT32), ("status", INT32)], [1, 2], bind={"flags": DYNAMIC},
                                        dynamic=[("status", STRING, "ok"), ("ratio", DOUBLE, 0.5),
                                                 ("cut", STRING, ("lo",))]),
                         {"n": 1, "status": "ok", "ratio": Decimal("0.5"), "cut": "lo\u2026"})

    def test_a_key_used_twice_is_kept_twice(self):
        self.assertEqual(self.arguments([("n", INT32), ("n", INT32)], [1, 2]), {"n": 1, "n (2)": 2})

    def test_percent_signs_in_keys_are_harmless(self):
        self.assertEqual(self.arguments([("%d%", INT32)], [1]), {"%d%": 1})

    def test_no_args_leaves_them_out(self):
        self.region(self.image.bind(REGION, "w", fields=[("n", INT32)]), 0, 10, [1])
        self.assertNotIn("args", convert(self.image.dump(), "--no-args").one("X"))

    def test_src_adds_the_source_location(self):
        self.region(self.image.bind(REGION, "w", file="a.cpp", line=12, fields=[("n", INT32)]), 0, 10, [1])
        self.region(self.image.bind(REGION, "x", file="b.cpp", line=3), 20, 30)
        trace = convert(self.image.dump(), "--src")
        self.assertEqual([e["args"] for e in trace.of("X")], [{"n": 1, "src": "a.cpp:12"}, {"src": "b.cpp:3"}])
        self.assertEqual(trace.metadata["sources"], {"w": "a.cpp:12", "x": "b.cpp:3"})

    def test_a_payload_too_short_for_its_fields_is_called_damaged(self):
        w = self.image.bind(REGION, "w", fields=[("s", STRING)])
        self.thread.words(self.t0 + 1, [1 << 41 | w.id << 6 | 1 << 2 | 2, 500])
        self.assertEqual(convert(self.image.dump()).one("X")["args"], {"(damaged)": True})

    def test_fields_of_an_unknown_type_are_left_out(self):
        w = self.image.bind(REGION, "w", fields=[("n", INT32), ("new", INT32)])
        self.region(w, 0, 10, [1, 2])
        w.fields[1] = ("new", 99, None, {}, 4)
        self.assertEqual(convert(self.image.dump()).one("X")["args"], {"n": 1})


class Threads(Base):
    def names(self, trace):
        return {e["tid"]: e["args"]["name"] for e in trace.of("M", "thread_name")}

    def test_process_and_threads_are_named(self):
        self.region(self.a, 0, 10)
        self.region(self.a, 0, 10, thread=self.image.thread(8, "pool", named=False))
        trace = convert(self.image.dump())
        self.assertEqual(trace.one("M", "process_name")["args"], {"name": "server"})
        self.assertEqual(self.names(trace), {7: "main", 8: "pool"})

    def test_two_slots_of_one_thread_are_one_track(self):
        second = self.image.thread(7, "main")
        self.region(self.b, 10, 20, thread=second)
        self.region(self.a, 0, 100)
        self.region(self.b, 110, 120, thread=second)
        trace = convert(self.image.dump())
        self.assertEqual(trace.slices(), [("a", 0, 100, 7), ("b", 10, 20, 7), ("b", 110, 120, 7)])

    def test_lanes_of_a_thread_are_one_track(self):
        self.region(self.b, 10, 20, lane=1)
        self.region(self.c, 12, 15, lane=2)
        self.region(self.a, 0, 100)
        self.assertEqual(convert(self.image.dump()).slices(), [("a", 0, 100, 7), ("b", 10, 20, 7), ("c", 12, 15, 7)])

    def test_a_thread_id_used_again_is_a_track_of_its_own(self):
        self.region(self.a, 0, 10)
        self.thread.lanes[0].seal(self.t0 + 20)
        other = self.thread.reuse(7, "second")
        other.attach_ticks = self.t0 + 1000
        self.region(self.b, 1000, 1010, thread=other)
        trace = convert(self.image.dump())
        self.assertEqual(self.names(trace), {7: "main", 8: "second (tid 7 again)"})
        self.assertEqual([(s[0], s[3]) for s in trace.slices()], [("a", 7), ("b", 8)])

    def test_thread_id_0_is_not_taken_for_the_process(self):
        self.region(self.b, 0, 10, thread=self.image.thread(0, "zero"))
        self.assertEqual(self.names(convert(self.image.dump())), {7: "main", 8: "zero"})

    def test_an_image_without_records_is_a_trace_all_the_same(self):
        self.image.threads.clear()
        trace = convert(self.image.dump())
        self.assertEqual(len(trace.events), 1)


class Windows(Base):
    def setUp(self):
        super().setUp()
        for i in range(10):
            self.region(self.a, i * 1000, i * 1000 + 10)
        self.region(self.b, 500, 9_500)
        self.point(self.image.bind(INSTANT, "late"), 9_600)

    def names(self, trace):
        return [s[0] for s in trace.slices()]

    def test_records_before_the_cutoff_are_dropped_and_straddling_ones_stay_whole(self):
        trace = convert(self.image.dump(cutoff=self.t0 + 5010))
        self.assertEqual(self.names(trace), ["b"] + ["a"] * 5)
        self.assertEqual(trace.slices()[0][1:3], (0, 9000))

    def test_records_of_an_earlier_recording_are_dropped(self):
        self.thread.lanes[0].chunk = None
        self.image.chunks.clear()
        self.region(self.c, -9_990, -9_000)
        self.region(self.a, -20_000, -10_001, lane=1)
        self.region(self.a, -20_000, -10_001, lane=1, form="long")
        self.region(self.b, 0, 10, lane=1)
        self.assertEqual(self.names(convert(self.image.dump())), ["c", "b"])

    def test_last_reaches_back_from_the_dump(self):
        trace = convert(self.image.dump(at=self.t0 + 10_000), "--last", "2us")
        self.assertEqual(self.names(trace), ["b", "a", "a"])

    def test_last_reaches_back_from_the_newest_record_of_a_live_image(self):
        trace = convert(self.image.live(), "--last", "0.7us")
        self.assertEqual(self.names(trace), ["b", "a"])

    def test_a_duration_that_is_none_is_refused(self):
        self.assertEqual(run("convert", "--last", "soon", "x").code, 2)


class LiveImages(Base):
    def test_a_killed_process_image_reads_like_a_dump(self):
        w = self.image.bind(REGION, "w", fields=[("n", INT32)])
        for i in range(3000):
            self.region(w, i * 100, i * 100 + 50, [i])
        self.thread.open(self.a, self.t0 + 400_000)
        live, dump = convert(self.image.live()), convert(self.image.dump())
        self.assertEqual(live.slices()[:3000], dump.slices()[:3000])
        self.assertEqual(live.one("X", "a")["args"], {"unfinished": True})
        self.assertIn("live", live.metadata["dumped"])

    def test_chunks_that_change_hands_are_skipped(self):
        for i in range(3000):
            self.region(self.a, i * 100, i * 100 + 50)

        def spoil(states, data):
            states[0] |= 3  # being taken
            states[1] += 4  # the table is ahead of the header
        trace = convert(self.image.live(spoil=spoil))
        self.assertEqual(len(trace.slices()), 3000 - 2 * 1007)
        self.assertIn("changing hands", str(trace.metadata["notes"]))

    def test_an_open_chunk_of_a_slot_used_again_is_skipped(self):
        self.region(self.a, 0, 10)
        self.thread.generation += 1
        self.assertEqual(convert(self.image.live()).slices(), [])


class Losses(Base):
    def test_gaps_between_chunks_are_exact_losses(self):
        self.thread.lose(500, 300)
        self.region(self.a, 0, 10)
        self.thread.lanes[0].seal(self.t0 + 20)
        self.thread.lose(100, 70)
        self.region(self.a, 100, 110)
        self.image.dropped[:2] = [5, 6]
        losses = convert(self.image.dump()).metadata["losses"]
        self.assertEqual(losses, {"overwritten by newer records": 300, "missing between others": 70,
                                  "dropped: no chunk free": 5, "dropped: more threads than slots": 6})

    def test_torn_chunks_are_counted(self):
        for i in range(3000):
            self.region(self.a, i * 100, i * 100 + 50)
        self.image.chunks[1].torn = True
        losses = convert(self.image.dump()).metadata["losses"]
        self.assertEqual(losses, {"missing between others": 1007, "chunks recycled while they were copied": 1})

    def test_no_loss_is_invented_over_many_chunks_lanes_and_forms(self):
        w = self.image.bind(LOG, "{}", fields=[("0", STRING)])
        for i in range(3000):
            self.region(self.a, i * 10**6, i * 10**6 + 50)
            self.point(w, i * 10**6 + 60, ["x" * (i % 90)], lane=i % 3)
            if i % 500 == 0:
                self.thread.anchor(self.t0 + i * 10**6 + 70)
        self.assertEqual(convert(self.image.dump()).metadata["losses"], {})


class Keys(Base):
    def test_a_field_that_has_a_key_of_the_converter_keeps_it(self):
        both = self.image.bind(REGION, "both", flags=1 << 4, fields=[("n", INT32), ("blocked on", INT32)])
        self.thread.open(both, self.t0, [5, 6])
        arguments = convert(self.image.dump(at=self.t0 + 1000)).one("X", "both")["args"]
        self.assertEqual(arguments, {"n": 5, "blocked on": 6, "blocked on (contrail)": "sync", "unfinished": True})


class Clocks(Base):
    def test_times_follow_the_anchors_exactly(self):
        image = ImageBuilder(tick_hz=2_095_078_123, start=10**15)
        thread, a = image.thread(7, "main"), image.bind(REGION, "a")
        times = [(image.start + i * 99_999_989, image.start + i * 99_999_989 + 12_345) for i in range(100)]
        for start, end in times:
            thread.region(a, start, end)
        expected = [(image.anchor(s)[1], image.anchor(e)[1]) for s, e in times]
        zero = expected[0][0]
        for (_, start, end, _), (s, e) in zip(convert(image.dump()).slices(), expected):
            self.assertLessEqual(abs(start + zero - s), 1)
            self.assertLessEqual(abs(end + zero - e), 1)

    def test_inline_anchors_count(self):
        self.region(self.a, 0, 10)
        later = self.t0 + 10**9  # from here on a second has 1 % more nanoseconds
        ticks, monotonic, realtime, boottime = self.image.anchor(later)
        slow = lambda t: (t, monotonic + (t - later) * 101 // 100, realtime, boottime + (t - later) * 101 // 100)
        self.thread.anchor(later)
        self.thread.anchor(later + 10**9, anchor=slow(later + 10**9))
        self.region(self.b, 2 * 10**9 - 10**6, 2 * 10**9)
        self.image.anchor = lambda t: slow(t) if t > later else ImageBuilder.anchor(self.image, t)
        trace = convert(self.image.dump(at=later + 10**9 + 1000))
        self.assertEqual(trace.slices()[1], ("b", 2_008_990_000, 2_010_000_000, 7))
        self.assertIn("1000 ppm", str(trace.metadata["notes"]))

    def test_a_suspend_is_told(self):
        self.region(self.a, 0, 10)
        self.thread.lanes[0].seal(self.t0 + 20)
        self.image.suspended, self.image.suspended_at = 3 * 10**9, self.t0 + 10**8
        self.region(self.b, 10**9, 10**9 + 10)
        self.assertIn("suspended for 3 s", str(convert(self.image.dump()).metadata["notes"]))

    def test_a_recording_too_short_for_two_anchors_uses_the_nominal_rate(self):
        image = ImageBuilder(tick_hz=500_000_000)
        image.thread(7, "main").region(image.bind(REGION, "a"), image.start + 10, image.start + 20)
        self.assertEqual(convert(image.dump(at=image.start + 100)).slices(), [("a", 0, 20, 7)])

    def test_a_damaged_anchor_is_ignored(self):
        for i in range(5):
            self.region(self.a, i * 10**9, i * 10**9 + 10)
            self.thread.lanes[0].seal(self.t0 + i * 10**9 + 20)
        chunk = self.image.chunks[2]
        chunk.anchor = (chunk.anchor[0], chunk.anchor[1] ^ 1 << 40) + chunk.anchor[2:]
        trace = convert(self.image.dump(), code=1)
        self.assertEqual([s[1] for s in trace.slices()], [i * 10**9 for i in range(5)])

    def test_an_anchor_that_was_read_slowly_is_left_out_and_a_damaged_one_told(self):
        for late, code in ((3 * 10**6, 0), (-3 * 10**6, 1), (2 * 10**9, 1)):
            self.setUp()
            self.region(self.a, 0, 10)
            for i in range(1, 6):
                ticks, monotonic, realtime, boottime = self.image.anchor(self.t0 + i * 10**9)
                self.thread.anchor(ticks, anchor=(ticks, monotonic, realtime, boottime + (late if i == 3 else 0)))
            trace = convert(self.image.dump(at=self.t0 + 10**10), code=code)
            self.assertEqual(trace.metadata["notes"], [])

    def test_anchors_of_two_threads_at_once_may_be_out_of_order(self):
        for back, code in ((50, 0), (2 * 10**6, 1)):
            self.setUp()
            self.region(self.a, 0, 10)
            for at in (10**10, 2 * 10**10):
                ticks, monotonic, realtime, boottime = self.image.anchor(self.t0 + at)
                self.thread.anchor(ticks, anchor=(ticks, monotonic, realtime, boottime))
                self.thread.anchor(ticks, anchor=(ticks + 1, monotonic - back, realtime - back, boottime - back))
            convert(self.image.dump(at=self.t0 + 3 * 10**10), code=code)


class Commands(Base):
    def setUp(self):
        super().setUp()
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = os.path.join(self.folder.name, "app.contrail")
        self.w = self.image.bind(REGION, "w", category="db", file="src/db.cpp", line=12, function="query",
                                 fields=[("n", INT32), ("kind", UINT8, None, {0: "read", 1: "write"})])
        for i in range(100):
            self.region(self.w, i * 1000, i * 1000 + i, [i, i % 2])
        self.image.bind(EVENT_TYPE, "app::point", type_id=0x1234, fields=[("v", FLOAT, 3)])
        self.save(self.image.dump())

    def save(self, data):
        with open(self.path, "wb") as file:
            file.write(data)

    def shell(self, *arguments, **more):
        return subprocess.run([sys.executable, CONVERTER, *arguments], capture_output=True, timeout=60, **more)

    def test_convert_writes_beside_its_input_and_prints_the_path(self):
        result = self.shell("convert", self.path)
        self.assertEqual((result.returncode, result.stdout.decode().strip()), (0, self.path + ".json"))
        self.assertEqual(sorted(os.listdir(self.folder.name)), ["app.contrail", "app.contrail.json"])

    def test_convert_reads_stdin_and_writes_stdout(self):
        with open(self.path, "rb") as file:
            result = self.shell("convert", "-", stdin=file)
        self.assertEqual(result.returncode, 0)
        self.assertTrue(result.stdout.startswith(b'{"displayTimeUnit"'))

    def test_convert_replaces_its_output_at_once(self):
        out = os.path.join(self.folder.name, "out.json")
        with open(out, "w") as file:
            file.write("old")
        before = os.stat(out).st_ino
        self.assertEqual(run("convert", self.path, "-o", out).code, 0)
        self.assertNotEqual(os.stat(out).st_ino, before)
        umask = os.umask(0)
        os.umask(umask)
        self.assertEqual(stat.S_IMODE(os.stat(out).st_mode), 0o666 & ~umask)

    def test_an_output_that_cannot_be_written_is_one_sentence(self):
        result = self.shell("convert", self.path, "-o", os.path.join(self.folder.name, "none", "out.json"))
        self.assertEqual((result.returncode, result.stderr.count(b"\n")), (2, 1), result.stderr)
        if os.path.exists("/dev/full"):
            result = self.shell("convert", self.path, "-o", "/dev/full")
            self.assertEqual((result.returncode, result.stderr.count(b"\n")), (2, 1), result.stderr)

    def redirected(self, how, *arguments):
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        return subprocess.run(["sh", "-c", f'exec "$@" {how}', "sh", sys.executable, CONVERTER, *arguments], timeout=60,
                              capture_output=True, env=buffered)

    def test_a_full_standard_output_is_one_sentence(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("there is no /dev/full")
        for command in (["info"], ["text"], ["convert", "-o", "-"]):
            result = self.redirected(">/dev/full", *command, self.path)
            self.assertEqual((result.returncode, result.stderr.count(b"\n")), (2, 1), result.stderr)
        self.assertEqual(self.redirected("2>/dev/full", "info", self.path + " not there").returncode, 2)

    def test_standard_streams_may_be_closed(self):
        self.assertEqual(self.redirected(">&-", "convert", self.path).returncode, 0)
        self.save(self.image.dump()[:-64])  # there is a warning, and it does not go where the trace goes
        result = self.redirected("2>&-", "convert", self.path, "-o", "-")
        self.assertEqual(result.returncode, 1)
        self.assertTrue(json.loads(result.stdout)["metadata"]["warnings"])

    def test_a_link_to_a_pipe_is_an_output(self):
        if os.path.exists("/dev/stdout"):
            result = self.shell("convert", self.path, "-o", "/dev/stdout")
            self.assertEqual((result.returncode, result.stderr), (0, b""))
            self.assertTrue(result.stdout.startswith(b'{"displayTimeUnit"'))

    def test_a_reader_that_goes_away_is_no_error_message(self):
        with subprocess.Popen([sys.executable, CONVERTER, "convert", self.path, "-o", "-"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            process.stdout.close()
            self.assertEqual(process.stderr.read(), b"")

    def test_info_tells_who_when_and_what(self):
        self.image.dropped[0] = 9
        self.save(self.image.dump(signal=12))
        out = run("info", self.path).out.decode()
        for part in ("/usr/bin/server, pid 4242, on box", "2023-11-14 22:13:20", "signal 12", "main", "db",
                     "100", "lost       9  dropped: no chunk free"):
            self.assertIn(part, out)

    def test_info_counts_open_regions_by_name(self):
        self.thread.open(self.a, self.t0)
        self.save(self.image.dump())
        rows = [line.split() for line in run("info", self.path).out.decode().splitlines()]
        self.assertIn(["kind", "category", "name", "records", "open"], rows)
        self.assertIn(["region", "net", "a", "0", "1"], rows)
        self.assertIn(["region", "db", "w", "100", "0"], rows)

    def test_registry_lists_every_event_type_with_its_schema(self):
        out = run("registry", self.path).out.decode()
        for part in ("event type  app::point  id 0x0000000000001234", "v: float[3] at 0", "region  w",
                     "category db, src/db.cpp:12 in query", "kind: uint8 {read = 0, write = 1} at 4"):
            self.assertIn(part, out)

    def test_table_shows_nearest_rank_percentiles(self):
        out = run("table", self.path).out.decode().splitlines()
        self.assertEqual(out[1].split(), ["w", "db", "100", "4.95", "us", "49", "ns", "98", "ns", "99", "ns"])

    def test_names_cannot_steer_the_terminal(self):
        self.region(self.image.bind(REGION, "\x1b[31mred"), 10**6, 10**6 + 1)
        self.save(self.image.dump())
        for command in ("info", "registry", "table"):
            self.assertNotIn(b"\x1b", run(command, self.path).out)


class BadInput(Base):
    def complaint(self, data, code=2, command="convert"):
        result = run_on(data, command)
        self.assertEqual(result.code, code, result.err)
        self.assertNotIn("report that", result.err)
        self.assertGreater(len(result.err), 20)
        if code == 2:
            self.assertEqual(result.err.count("\n"), 1)
        return result.err

    def test_what_is_not_a_dump_is_refused(self):
        self.assertIn("empty", self.complaint(b""))
        self.assertIn("not a contrail dump", self.complaint(b"PK\3\4" + bytes(9000)))
        self.assertIn("not a contrail dump", self.complaint(b"\x89CT"))

    def test_a_missing_file_is_one_sentence(self):
        result = run("info", "/no/such/file")
        self.assertEqual((result.code, result.err.count("\n")), (2, 1))

    def test_a_newer_major_version_is_refused_by_name(self):
        self.image.version = (2, 3)
        self.assertIn("2.3", self.complaint(self.image.dump()))

    def test_a_newer_minor_version_is_read(self):
        self.image.version = (1, 9)
        self.region(self.a, 0, 10)
        self.thread.words(self.t0 + 20, [2 << 6 | 9 << 2 | 3, 1, 2])  # a long form that does not exist yet
        self.region(self.b, 30, 40)
        self.assertEqual(len(convert(self.image.dump()).slices()), 2)

    def test_a_dump_without_its_end_is_read_with_a_warning(self):
        self.region(self.a, 0, 10)
        trace = convert(self.image.dump(end=False), code=1)
        self.assertEqual(len(trace.slices()), 1)
        self.assertIn("truncated", trace.err)

    def test_records_before_damage_in_a_chunk_are_read(self):
        self.region(self.a, 0, 10)
        self.thread.words(self.t0, [0])
        self.region(self.b, 20, 30)
        self.assertEqual([s[0] for s in convert(self.image.dump(), code=1).slices()], ["a"])

    def test_impossible_times_do_not_stretch_the_trace(self):
        self.region(self.a, 0, 10)
        self.thread.words(self.t0, [1 << 16 | 2 << 6 | 2 << 2 | 3, 1, 2**63])
        self.region(self.b, 20, 30, lane=1)
        self.thread.words(self.t0, [2**62 | 3], lane=1)
        self.region(self.b, 40, 50, lane=2)
        self.thread.words(self.t0, [1 << 16 | 1 << 6 | 3 << 2 | 3, 16], lane=2)
        trace = convert(self.image.dump(), code=1)
        self.assertEqual(trace.slices(), [("a", 0, 10, 7), ("b", 20, 30, 7), ("b", 40, 50, 7)])

    def test_a_huge_width_in_a_log_does_not_eat_the_memory(self):
        log = self.image.bind(LOG, "{:2000000000}|{:.2000000000f}", fields=[("0", INT32), ("1", DOUBLE)])
        self.point(log, 0, [1, 2])
        self.assertLess(len(convert(self.image.dump()).one("i")["args"]["message"]), 50_000)

    def test_a_format_that_does_not_fit_its_arguments_is_shown_as_it_is(self):
        for i, text in enumerate(("{} {}", "{:d", "{:q}", "}", "{:.{}f}")):
            self.point(self.image.bind(LOG, text, fields=[("0", INT32)]), i * 100, [1])
        self.assertEqual([e["name"] for e in convert(self.image.dump()).of("i")],
                         ["{} {}", "{:d", "{:q}", "}", "{:.{}f}"])


if __name__ == "__main__":
    unittest.main()
