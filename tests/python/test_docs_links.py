# SPDX-License-Identifier: MIT
"""Every relative link in the project's Markdown leads to a file that exists, and to a heading that it has."""
import os
import re
import unittest
from pathlib import Path
from typing import Dict, Iterator, Set, Tuple

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = {"build", "node_modules", ".git"}
FENCE = re.compile(r"^ {0,3}(```|~~~)")
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")


def pages() -> Iterator[Path]:
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(f for f in folders if f not in SKIPPED and not f.startswith("build"))
        yield from (Path(folder) / name for name in sorted(files) if name.endswith(".md"))


def prose(page: Path) -> Iterator[Tuple[int, str]]:
    """Its lines outside fenced code, with inline code left out."""
    fenced = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            yield number, line


def anchors(page: Path) -> Set[str]:
    """As GitHub makes them: lower case, punctuation dropped, spaces to hyphens, a number for the second of a name."""
    found: Set[str] = set()
    seen: Dict[str, int] = {}
    for _, line in prose(page):
        heading = HEADING.match(line)
        if heading:
            name = re.sub(r"[^\w\- ]", "", heading[1].lower()).replace(" ", "-")
            count = seen[name] = seen.get(name, -1) + 1
            found.add(f"{name}-{count}" if count else name)
    return found


class Links(unittest.TestCase):
    def test_there_are_pages_to_check(self) -> None:
        self.assertIn(ROOT / "docs" / "guide.md", list(pages()))

    def test_every_relative_link_leads_somewhere(self) -> None:
        broken = []
        for page in pages():
            for number, line in prose(page):
                for target in LINK.findall(re.sub(r"`[^`]*`", "", line)):
                    if re.match(r"[a-z][a-z0-9+.-]*:", target):
                        continue
                    path, _, anchor = target.partition("#")
                    file = (page.parent / path).resolve() if path else page
                    where = f"{page.relative_to(ROOT)}:{number}: {target}"
                    if not file.exists():
                        broken.append(f"{where}: no such file")
                    elif ROOT not in file.parents and file != ROOT:
                        broken.append(f"{where}: leads out of the project")
                    elif anchor and file.suffix == ".md" and anchor not in anchors(file):
                        broken.append(f"{where}: no such heading")
        self.assertEqual(broken, [], "\n" + "\n".join(broken))


if __name__ == "__main__":
    unittest.main()
