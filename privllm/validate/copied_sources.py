"""Where held-out text that is copied from training text comes from, for the warning about it."""

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from privllm.core.printable import printable
from privllm.core.records import LINE, whole_source
from privllm.validate.expectations import COPIED_SHARE, LISTED

if TYPE_CHECKING:
    from privllm.validate.suite import Outcome

ADVICE = (
    "figures called clean leave it out; a lower `dedup.threshold` finds more near duplicates, which stay on one side"
)


def explained(outcome: "Outcome", documents: pa.Table) -> "Outcome":
    """Return the outcome of a check, with the sources and what to do where it is that too much is copied.

    documents: `statistics.STATISTICS` of all.
    """
    if outcome.passed or outcome.check.limits.get("column") != COPIED_SHARE:
        return outcome
    shares = [f"{printable(source)} {share:.0%}" for source, share in worst_sources(documents)]
    return replace(outcome, observed=f"{outcome.observed}, most of it from {', '.join(shares)}; {ADVICE}")


def worst_sources(documents: pa.Table) -> list[tuple[str, float]]:
    """Return up to `LISTED` sources with the most copied bytes, and the share of their held-out bytes that is copied.

    Sources are folders, or files where all documents are from one folder.
    """
    columns = (documents[name].to_pylist() for name in ("folder", "source", "held_out_bytes", "copied_bytes"))
    rows = [row for row in zip(*columns, strict=True) if row[2]]
    has_folders = len({folder for folder, *_ in rows}) > 1
    held_out: Counter[str] = Counter()
    copied: Counter[str] = Counter()
    for folder, source, held_out_bytes, copied_bytes in rows:
        document = whole_source(source)
        line = LINE.fullmatch(document)
        name = folder if has_folders else line[1] if line else document
        held_out[name] += held_out_bytes
        copied[name] += copied_bytes
    most_copied = sorted(copied, key=lambda name: (-copied[name], name))
    return [(name, copied[name] / held_out[name]) for name in most_copied[:LISTED] if copied[name]]
