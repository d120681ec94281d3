"""Which files took longest to read, for the terminal: no duration may enter an output.

Each group of files leaves a list beside its runs, in the folder that `collect` removes at its end.
"""

import heapq
import json
from pathlib import Path

SUFFIX = ".slow"
LEAST_SECONDS = 1.0  # below it a file is not worth a word
MOST_NAMED = 3


class ReadTimes:
    """The slowest files of a group."""

    def __init__(self) -> None:
        self._slowest: list[tuple[float, str]] = []

    def note(self, source: str, seconds: float) -> None:
        """Note how long a file took."""
        if seconds < LEAST_SECONDS:
            return
        heapq.heappush(self._slowest, (seconds, source))
        if len(self._slowest) > MOST_NAMED:
            heapq.heappop(self._slowest)

    def write(self, stem: Path) -> None:
        """Write `<stem>.slow`, where there is any."""
        if self._slowest:
            stem.with_name(f"{stem.name}{SUFFIX}").write_text(json.dumps(self._slowest), "utf-8")


def slowest_files(folder: Path) -> str:
    """Return a line that names the slowest files of all groups with lists in `folder`; "" where none is slow."""
    noted = [tuple(entry) for path in folder.glob(f"*{SUFFIX}") for entry in json.loads(path.read_text("utf-8"))]
    if not noted:
        return ""
    named = ", ".join(f"{source} ({seconds:.0f} s)" for seconds, source in heapq.nlargest(MOST_NAMED, noted))
    return f"slowest to read: {named}"
