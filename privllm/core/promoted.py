"""Names below data/promoted, where the model of one revision is kept for the next.

`promote` writes them; `dedup`, `start` and `gate` read them.
"""

from pathlib import Path

PROMOTED = Path("data/promoted")
MODEL = PROMOTED / "model"  # kept in git by a .gitignore; a new repository has nothing else in it
# Below MODEL / start.INCUMBENT, DVC's: <family>/ (Hugging Face's format), start.DOCUMENTS, and
TOKENIZER = "tokenizer"  # tokenizer.json
JUDGED = "judged"  # <family>.parquet: id and bytes of those that it was judged on
SIDES_FOLDER = PROMOTED / "sides"  # kept in git in the same way
SIDES_FILE = "sides.parquet"  # in it, DVC's: on which side of the split each document stood
MANIFEST = "incumbent.json"  # version, families
