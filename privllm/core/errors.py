"""The one exception that is the user's to mend.

Everything a person can put right (a misspelt parameter, an empty folder, a corpus too small to split) is a
`UserError`; `engine.stage` prints it as one paragraph without a traceback. A mistake of ours stays an `assert`
or whatever Python raised, traceback included.
"""


class UserError(ValueError):
    """What is wrong, where (file, key, document), and what to do, in one paragraph."""
