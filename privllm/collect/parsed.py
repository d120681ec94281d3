"""What a parser of a binary format makes of a file. It imports little, as the process of the parsers does little else."""

from collections.abc import Sequence
from typing import NamedTuple


class About(NamedTuple):
    """What a file says of itself; "" where it does not."""

    title: str = ""
    author: str = ""
    date: str = ""  # YYYY-MM-DD

    def filled_by(self, other: "About") -> "About":
        """Return this, with what it does not say from another."""
        return About(self.title or other.title, self.author or other.author, self.date or other.date)


class Parsed(NamedTuple):
    """The text of a file as light Markdown, and what the file says of itself ("" where it does not)."""

    text: str
    title: str = ""
    author: str = ""
    date: str = ""  # YYYY-MM-DD
    scans: Sequence[int] = ()  # numbers, from 1, of pages that are pictures and that nobody asked to read

    @property
    def about(self) -> About:
        return About(self.title, self.author, self.date)


class NoText(Exception):
    """A file that gives no text, by `reason` and `detail` of the quarantine."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail
