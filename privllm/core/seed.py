"""Numbers that look random and are pure functions of names.

Nothing here holds state: a document's place in a sample, in a split or in an epoch must not depend on which
documents came before it. BLAKE2b is used because it is in the standard library and equal on every machine.
"""

from hashlib import blake2b

ID_BYTES = 16


def digest(data: bytes) -> str:
    """32 hexadecimal digits of BLAKE2b-128 over `data`."""
    return blake2b(data, digest_size=ID_BYTES).hexdigest()


def name_digest(*parts: str | int) -> str:
    """`digest` of several names; ("ab", "c") and ("a", "bc") differ."""
    return digest("\x1f".join(str(part) for part in parts).encode())


def seed_of(*parts: str | int) -> int:
    """A seed in [0, 2^63) that is a pure function of `parts`."""
    return int(name_digest(*parts)[:16], 16) >> 1


def unit_interval(*parts: str | int) -> float:
    """A number in [0, 1) that is a pure function of `parts`, for choosing a share of documents by id."""
    return int(name_digest(*parts)[:13], 16) / 16**13
