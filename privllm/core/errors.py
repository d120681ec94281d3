"""Errors that people can fix.

A misspelt parameter, an empty folder or a corpus too small to split is a `UserError`;
`engine.stage` prints it as one paragraph without a traceback. A mistake in our code stays an
`assert` or whatever Python raised, traceback included.
"""

from collections.abc import Sequence


class UserError(ValueError):
    """An error that people can fix.

    Its message says in one paragraph what is wrong, where (file, key, document), and what to do.
    """


class SeveralFaults(UserError):
    """Errors that people can fix, all at once: a summary, and lines that name each and are printed as lines."""

    def __init__(self, summary: str, lines: Sequence[str]) -> None:
        super().__init__("\n".join([summary, *lines]))
        self.summary, self.lines = summary, list(lines)
