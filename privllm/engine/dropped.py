"""Lists of what a stage left out, for people.

Each is a text file beside the stage's tables; the terminal shows a line for each reason.

The file has a header, then reason, source and detail of everything left out, a line each, sorted by
reason and source. Its names are `printable`, so anything may open it; programs read the Parquet,
which has the exact names.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.printable import printable, say
from privllm.engine.digests import replacing

COLUMNS = ("reason", "source", "detail")
EXAMPLES = 2  # sources named for a reason
BATCH_ROWS = 10_000


def write_list(rows: pa.Table, path: Path) -> None:
    """Write the columns `COLUMNS` of `rows` to the list `path`, sorted."""
    rows = rows.select(COLUMNS)
    order = pc.sort_indices(rows, [(name, "ascending") for name in COLUMNS])
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write("\t".join(COLUMNS) + "\n")
        for start in range(0, len(order), BATCH_ROWS):
            batch = rows.take(order.slice(start, BATCH_ROWS)).to_pydict()
            for row in zip(*batch.values(), strict=True):
                file.write("\t".join(map(printable, row)) + "\n")


def print_dropped(stage: str, path: Path, total: int, unit: str, verb: str = "left out") -> None:
    """Print how many of `total` units ("files") the list at `path` names, by reason; `verb` says what was done to them.

    Prints nothing for an empty list.
    """
    counts: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    for reason, source in _lines(path):
        counts[reason] += 1
        if counts[reason] <= EXAMPLES:
            examples.setdefault(reason, []).append(source)
    if not counts:
        return
    say(f"{stage} {verb} {counts.total():,} of {total:,} {unit}; each of them, and why: {path}")
    for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        sources = examples[reason] + (["..."] if count > EXAMPLES else [])
        say(f"  {count:>9,}  {reason:<22}  {', '.join(sources)}")


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (reason, source) of each line of a list."""
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in islice(file, 1, None):
            reason, source, _ = line.split("\t")
            yield reason, source
