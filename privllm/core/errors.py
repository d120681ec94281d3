"""Errors that people can fix.

A misspelt parameter, an empty folder or a corpus too small to split is a `UserError`;
`engine.stage` prints it as one paragraph without a traceback. A mistake in our code stays an
`assert` or whatever Python raised, traceback included.
"""


class UserError(ValueError):
    """An error that people can fix.

    Its message says in one paragraph what is wrong, where (file, key, document), and what to do.
    """
