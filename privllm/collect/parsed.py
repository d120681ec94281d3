"""What a parser of a binary format makes of a file. It imports nothing, as the process of the parsers does little else."""

from typing import NamedTuple


class Parsed(NamedTuple):
    """The text of a file as light Markdown, and what the file says of itself ("" where it does not)."""

    text: str
    title: str = ""
    author: str = ""
    date: str = ""  # YYYY-MM-DD


class NoText(Exception):
    """A file that gives no text, by `reason` and `detail` of the quarantine."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail
