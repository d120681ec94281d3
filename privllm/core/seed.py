"""Pseudo-random numbers that are pure functions of names.

There is no state: a document's place in a sample, in a split or in an epoch must not depend on
which documents came before it. BLAKE2b is used because it is in the standard library and equal on
every machine.
"""

from hashlib import blake2b

ID_BYTES = 16


def digest(data: bytes) -> str:
    """Return the BLAKE2b-128 of `data`, 32 hexadecimal digits."""
    return blake2b(data, digest_size=ID_BYTES).hexdigest()


def name_digest(*names: str | int) -> str:
    """Return the `digest` of several names; ("ab", "c") and ("a", "bc") differ."""
    return digest("\x1f".join(map(str, names)).encode())


def seed_of(*names: str | int) -> int:
    """Return a seed in [0, 2^63) that is a pure function of `names`."""
    return int(name_digest(*names)[:16], 16) >> 1


def unit_interval(*names: str | int) -> float:
    """Return a number in [0, 1) that is a pure function of `names`, to choose a share of documents."""
    return int(name_digest(*names)[:13], 16) / 16**13
