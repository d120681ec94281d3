"""Peer: text to token ids with `datasets.map`, two processes, over a Hugging Face tokenizers file.

Usage: peer_tokenize.py FOLDER_OF_TXT TOKENIZER_JSON. Prints one JSON line; imports and reading are not on the clock.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"


def main(folder: str, tokenizer_file: str) -> None:
    from datasets import Dataset
    from tokenizers import Tokenizer

    texts = [path.read_text("utf-8", "replace") for path in sorted(Path(folder).rglob("*.txt"))]
    tokenizer = Tokenizer.from_file(tokenizer_file)

    def encode(batch: dict) -> dict:
        return {"ids": [encoding.ids for encoding in tokenizer.encode_batch(batch["text"])]}

    with tempfile.TemporaryDirectory() as scratch:
        data = Dataset.from_dict({"text": texts})
        start = time.perf_counter()
        out = data.map(
            encode,
            batched=True,
            batch_size=100,
            num_proc=2,
            remove_columns=["text"],
            cache_file_name=f"{scratch}/ids.arrow",
        )
        seconds = time.perf_counter() - start
        tokens = sum(len(ids) for ids in out["ids"])
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    print(
        json.dumps(
            {"name": "datasets.map", "text_mb": round(megabytes, 2), "tokens": tokens, "seconds": round(seconds, 2)}
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:3])
