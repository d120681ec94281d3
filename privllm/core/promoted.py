"""Names below data/promoted, where the model of one revision is kept for the next.

`promote` writes them, `start` and `gate` read them.
"""

from pathlib import Path

PROMOTED = Path("data/promoted")
MODEL = PROMOTED / "model"  # kept in git by a .gitignore; a new repository has nothing else in it
# Below MODEL / start.INCUMBENT, DVC's: <family>/ (Hugging Face's format), start.DOCUMENTS, and
TOKENIZER = "tokenizer"  # tokenizer.json
JUDGED = "judged"  # <family>.parquet: id and bytes of those that it was judged on
MANIFEST = "incumbent.json"  # version, families
