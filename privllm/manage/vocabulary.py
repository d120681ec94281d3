"""vocabulary: keep the one of this build for all later ones, in data/vocabulary, or have it learnt anew.

While it is kept, an edit packs its own shard again, and not every one.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from privllm.core.base_model import SCRATCH, starts_in
from privllm.core.base_model import TOKENIZER as TOKENIZER_START
from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.params import load_sections, read_params
from privllm.core.report import write_json
from privllm.core.tables import read_folder, read_table, write_table
from privllm.dedup.exact import normalised_digest
from privllm.manage.tracked_input import run, track
from privllm.tokens.kept_vocabulary import DOCUMENTS, KEPT, NOTE, SAMPLED, TOKENIZER, VOCABULARY, kept_for, settings_of
from privllm.tokens.vocabulary import TokenizerConfig
from privllm.tokens.vocabulary_sample import SampleConfig

REPORT = "reports/tokenizer.json"
Say = Callable[[str], None]


def keep(root: Path, say: Say) -> None:
    """Keep the vocabulary that this build learnt.

    Raises UserError where none was learnt, or where the build is not up to date.
    """
    start = starts_in(load_sections(root / "params.yaml"), TRAITS)[TOKENIZER_START]
    if start.place != SCRATCH:
        raise UserError(f"`{start.key}` in params.yaml is {start.place}: that vocabulary stays without being kept.")
    if not (root / REPORT).is_file():
        raise UserError("there is no vocabulary yet: run `dvc repro tokenizer`, then keep it.")
    status = json.loads(run(root, sys.executable, "-P", "-m", "dvc", "status", "--json", "tokenizer") or "{}")
    if status:
        raise UserError(
            "the vocabulary is not that of the documents and parameters of now: run `dvc repro tokenizer` first."
        )
    if not write_kept(root):
        say(f"It is in {VOCABULARY / KEPT} already.")
        return
    say(
        f"The vocabulary is in {VOCABULARY / KEPT} now, staged in git: commit it. It stays until `tokenizer` or `sample` "
        "in params.yaml change, or `privllm vocabulary drop`."
    )


def write_kept(root: Path) -> bool:
    """Write and track data/vocabulary/kept, unless it is there already; return whether it was written."""
    tokenizer = root / "data/tokenizer" / TOKENIZER
    settings = settings_of(
        read_params("tokenizer", TokenizerConfig, root / "params.yaml"),
        read_params("sample", SampleConfig, root / "params.yaml"),
    )
    kept = kept_for(root / VOCABULARY, settings)
    if kept and kept.tokenizer.read_bytes() == tokenizer.read_bytes():
        return False  # it may have been learnt on documents that have changed since
    folder = root / VOCABULARY / KEPT
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copyfile(tokenizer, folder / TOKENIZER)
    sample = read_folder(root / "data/dedup/sample", ["id", "text"])
    digests = [normalised_digest(text) for text in sample["text"].to_pylist()]
    write_table(pa.table([sample["id"], digests], schema=SAMPLED).sort_by("id"), folder / DOCUMENTS)
    bytes_per_token = json.loads((root / REPORT).read_text("utf-8"))["bytes_per_token"]
    write_json(folder / NOTE, {"settings": settings, "bytes_per_token": bytes_per_token})
    track(root, VOCABULARY / KEPT)
    return True


def drop(root: Path, say: Say) -> None:
    """Remove the kept vocabulary, so that the next build learns one. Raises UserError where none is kept."""
    if not remove_kept(root):
        raise UserError(f"no vocabulary is kept in {VOCABULARY}, so there is nothing to drop.")
    say("The kept vocabulary is removed: `dvc repro` learns one from the documents of now, and packs and trains anew.")


def remove_kept(root: Path) -> bool:
    """Remove data/vocabulary/kept and DVC's note of it; return whether there was any."""
    folder, note = root / VOCABULARY / KEPT, root / VOCABULARY / f"{KEPT}.dvc"
    if not folder.exists() and not note.exists():
        return False
    shutil.rmtree(folder, ignore_errors=True)
    note.unlink(missing_ok=True)
    return True


def learnt_on(root: Path, ids: set[str], digests: set[str], present: set[str]) -> int:
    """Return how many documents of the kept vocabulary's sample are among `ids`, or have a text of `digests`.

    The text of a document in `present` is not counted: it stays.
    """
    file = root / VOCABULARY / KEPT / DOCUMENTS
    if not file.is_file():
        return 0
    count = 0
    for row in read_table(file).to_pylist():
        is_old_text = row["digest"] in digests and row["id"] not in present
        count += row["id"] in ids or is_old_text
    return count
