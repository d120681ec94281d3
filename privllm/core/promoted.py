"""Names below data/promoted, the model of one revision kept for the next: `promote` writes it, `start` and `gate` read it."""

from pathlib import Path

PROMOTED = Path("data/promoted")
MODEL = PROMOTED / "model"  # kept in git by a .gitignore; a new repository has nothing else in it
# Below MODEL / start.INCUMBENT, DVC's: <family>/ (Hugging Face's format), start.DOCUMENTS, and
TOKENIZER = "tokenizer"  # tokenizer.json
JUDGED = "judged"  # <family>.parquet: id and bytes of those that it was judged on
MANIFEST = "incumbent.json"  # version, families
