"""The rules by which DVC ignores files, so that nothing is read whose edits DVC would not notice.

DVC leaves out of a folder's hash what `.dvcignore` names (in the root and in the folders between it
and the sources; one inside the sources is an error of DVC's), git's and Mercurial's folders, and
repositories of their own. The patterns are git's, the last that matches decides, and what lies in a
folder that is left out cannot be brought back.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

FILE = ".dvcignore"
ALWAYS = (".hg/", ".git/", ".git", ".dvc/")  # DVC's own defaults
REPOSITORY = ".dvc"  # a folder that holds one is a repository of its own


@dataclass
class Pattern:
    """A line of `.dvcignore`."""

    start: int  # of the part of a path that it sees: below the folder that its file lies in
    regex: re.Pattern[str]
    leaves_out: bool  # or brings back
    is_name: bool  # it holds no slash but at its end, so it is of one name
    of_name: bool = False  # it is asked for the name alone, which is five times as fast


class DvcIgnore:
    """The rules that hold below the folder `sources`; none where no DVC repository is around it."""

    def __init__(self, sources: Path) -> None:
        self.patterns: list[Pattern] = []
        self.leaves_out_all = False
        sources = Path(os.path.abspath(sources))  # noqa: PTH100  (links stay as DVC sees them)
        self.sources = str(sources)
        root = next((folder for folder in sources.parents if (folder / REPOSITORY).is_dir()), None)
        if root is None:
            return
        self._add(root, ALWAYS)
        for folder in _folders_between(root, sources):
            if (folder / FILE).is_file():
                self._add(folder, tuple((folder / FILE).read_text("utf-8").splitlines()))
        below_root = [*_folders_between(root, sources), sources][1:]
        self.leaves_out_all = any(self._leaves_out(f"{folder}/") for folder in below_root)
        if all(pattern.leaves_out for pattern in self.patterns):
            # Nothing is brought back, and what lies in a folder that is left out is never asked
            # for: a name is enough.
            for pattern in self.patterns:
                pattern.of_name = pattern.is_name

    def _add(self, folder: Path, lines: tuple[str, ...]) -> None:
        """Append the patterns of the lines of a `.dvcignore` in `folder`."""
        start = len(str(folder)) + 1
        for raw_line in lines:
            line = raw_line.strip()
            is_name = "/" not in line.rstrip("/")
            for pattern in GitIgnoreSpec.from_lines([line]).patterns:
                if pattern.regex is not None and pattern.include is not None:  # a comment has neither
                    self.patterns.append(Pattern(start, pattern.regex, pattern.include, is_name))

    def ignores(self, below: str, is_folder: bool) -> bool:
        """Return whether DVC ignores the file or folder at the path `below` the sources."""
        if not self.patterns:
            return False
        path = f"{self.sources}/{below}"
        if is_folder and Path(path, REPOSITORY).is_dir():
            return True
        return self.leaves_out_all or self._leaves_out(f"{path}/" if is_folder else path)

    def _leaves_out(self, path: str) -> bool:
        name = path[path.rfind("/", 0, -1) + 1 :]
        for pattern in reversed(self.patterns):
            subject = name if pattern.of_name else path[pattern.start :]
            if pattern.regex.match(subject):
                return pattern.leaves_out
        return False


def _folders_between(root: Path, sources: Path) -> Iterator[Path]:
    """Yield `root`, and the folders from there to the one that `sources` lies in."""
    folder = root
    yield folder
    for name in sources.parent.relative_to(root).parts:
        folder = folder / name
        yield folder
