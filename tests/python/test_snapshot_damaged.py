# SPDX-License-Identifier: MIT
"""tools/contrail_snapshot.py on the image of a process that wrote over it: a dump or a reason, never a traceback."""
import io
import platform
import struct
import unittest
from unittest import mock

from outside import snapshot
from support import contrail
from test_hostile import small_image


class Bytes(snapshot.Process):
    """A process that has nothing but an image."""

    def __init__(self, image, base):
        self.pid = self.inner_pid = 4242
        self.image, self.base, self.unreadable, self.no_names = image, base, 0, ""

    def read(self, address, size):
        at = address - self.base
        if not 0 <= at <= at + size <= len(self.image):
            raise snapshot.Refused("beyond the end")
        return bytes(self.image[at:at + size])

    def images(self):
        return [self.base]

    def thread_names(self):
        return {}


class Damaged(unittest.TestCase):
    BASE = 0x7F00_0000_0000

    def snapshot_of(self, image):
        process, out = Bytes(image, self.BASE), io.BytesIO()
        try:
            snapshot.Snapshot(process, snapshot.find_image(process, []), 10**9).write(out)
        except snapshot.Refused:
            return None
        return out.getvalue()

    def test_any_word_of_the_superblock_or_the_index_of_bindings_may_be_wrong(self):
        good = small_image().live(base_address=self.BASE)
        sb = contrail.SUPERBLOCK.read(good, 0)
        index = range(sb.binding_index_offset, sb.binding_index_offset + 4 * sb.binding_index_count, 8)
        taken = 0
        for machine in platform.machine(), "one whose counter cannot be read":
            with mock.patch.object(snapshot.platform, "machine", lambda: machine):
                for at in [*range(16, 232, 8), *index]:
                    for value in (0, 1, 0xFFFF, 2**32 - 1, 2**63, 2**64 - 1, 2**64 - 2**32):
                        image = bytearray(good)
                        struct.pack_into("<Q", image, at, value)
                        with self.subTest(machine=machine, at=at, value=value):
                            data = self.snapshot_of(image)
                            if data is not None:
                                taken += 1
                                contrail.Trace(contrail.Image(data))
        self.assertGreater(taken, 100)

    def test_bindings_that_overlap_are_not_copied_again_and_again(self):
        image = bytearray(small_image().live(base_address=self.BASE))
        sb = contrail.SUPERBLOCK.read(image, 0)
        struct.pack_into("<I", image, sb.bindings_offset, sb.bindings_bytes // 8 * 8)
        for id in range(sb.binding_index_count):
            struct.pack_into("<I", image, sb.binding_index_offset + 4 * id, 1)
        dump = contrail.Image(self.snapshot_of(image))
        self.assertLessEqual(dump.sb.bindings_bytes, sb.bindings_bytes)


if __name__ == "__main__":
    unittest.main()
