"""Exact duplicates: documents whose texts are equal except for white space.

    "Hello,\\n  world " and "Hello, world" -> one digest

Case and punctuation count here, in `shingles` they do not. Which of equal documents survives is
decided in `clusters`.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.seed import digest


def normalised_digest(text: str) -> str:
    """Return the digest of `text` after reducing ASCII white space to single spaces."""
    words = text.encode("utf-8", "surrogatepass").split()
    return digest(b" ".join(words))


def first_of_each(digests: pa.Array) -> np.ndarray:
    """Return for each row the index of the first row with an equal digest, int64 (rows,)."""
    return pc.index_in(digests, value_set=digests).to_numpy().astype(np.int64)
