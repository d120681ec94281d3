"""A small corpus as the stages before leave it."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from privllm.core.records import COPIED_RUNS, DEDUPED, document_id, shard_name, shard_of
from privllm.core.report import write_json
from privllm.core.tables import write_table
from privllm.validate.recipe import ValidateConfig, ValidateInputs, validate

BITS = 1
FIRST, SECOND = ("amber", "birch", "cedar", "delta", "ember"), ("field", "grove", "haven", "inlet", "jetty", "knoll")
WORDS = [first + second for first in FIRST for second in SECOND]


def document(number: int, **changes: Any) -> dict[str, Any]:
    """A row of `records.DEDUPED` without fault, changed as told."""
    source = changes.pop("source", f"{'notes' if number % 3 else 'mail'}/{number}.txt")
    words = random.Random(number).choices(WORDS, k=40 + 13 * (number % 11))
    row = {
        "id": document_id(source),
        "source": source,
        "media_type": "text/plain",
        "digest": document_id(f"digest {number}"),
        "text": " ".join(words) + ".",
        "language": "en",
        "language_score": 0.9,
        "placeholders": 0,
        "cluster": document_id(source),
        "split": "train",
    }
    return row | changes


class Corpus:
    """The inputs of `validate` in a folder, and its outputs beside them."""

    def __init__(self, folder: Path, rows: list[dict[str, Any]]) -> None:
        self.folder, self.out, self.docs = folder, folder / "data/validate", folder / "reports/validate"
        reports = folder / "reports"
        self.inputs = ValidateInputs(
            folder / "data/dedup", reports / "collect.json", reports / "clean.json", folder / "statistics.json"
        )
        for shard in range(2**BITS):
            mine = sorted(
                (row for row in rows if shard_of(row["cluster"], BITS) == shard), key=lambda row: row["id"] or ""
            )
            write_table(pa.Table.from_pylist(mine, DEDUPED), self.inputs.source / shard_name(shard))
            self.copied(shard, [])
        self.report(collected=len(rows), entered=len(rows), kept=len(rows))
        write_json(self.inputs.promoted, {})

    def copied(self, shard: int, runs: list[dict[str, Any]]) -> None:
        write_table(pa.Table.from_pylist(runs, COPIED_RUNS), self.inputs.source / "copied" / shard_name(shard))

    def report(
        self,
        collected: int,
        entered: int,
        kept: int,
        quarantined: dict[str, int] | None = None,
        dropped: dict[str, int] | None = None,
    ) -> None:
        entries = collected + sum((quarantined or {}).values())
        write_json(
            self.inputs.collect_report, {"documents": collected, "entries": entries, "quarantined": quarantined or {}}
        )
        write_json(
            self.inputs.clean_report,
            {"documents_in": entered, "cut": 0, "sections": 0, "kept": kept, "dropped": dropped or {}},
        )

    def validate(self, **changes: Any) -> dict[str, Any]:
        return validate(ValidateConfig(**changes), self.inputs, self.out, self.docs)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Corpus]:
    """`corpus(rows)` in a folder of its own, `corpus()` for thirty sound documents."""
    sound = [document(number) for number in range(30)]
    return lambda rows=None: Corpus(tmp_path_factory.mktemp("corpus"), sound if rows is None else rows)


@pytest.fixture(name="document", scope="session")
def _document() -> Callable[..., dict[str, Any]]:
    return document
