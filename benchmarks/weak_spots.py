"""How often weak spots are named where there are none, and found where there is one.

    python -m benchmarks.weak_spots

Documents differ in length and in difficulty, their slices do not: six sources, four lengths, twelve parts of speech. "Alarm" is the share
of such corpora in which `evaluate.weak_spots.weak_spots` names anything; "found" the share in which it names a source that costs 30 % more.
Beside it the obvious way: a percentile interval of 95 % for each slice by itself.
"""

import numpy as np

from benchmarks.common import write_result
from privllm.evaluate.slices import Cells, Tally
from privllm.evaluate.weak_spots import weak_spots
from privllm.stats.bootstrap import drawn_sums, interval_of

CORPORA, DRAWS, SOURCES, TAGS = 200, 400, 6, 12
LENGTHS = (200, 500, 1200)  # tokens between the four lengths
COST, PLANTED = 3.0, 0.3  # nats per token; how much more of them


def corpus(documents: int, seed: int, planted: float = 0.0) -> Cells:
    """Nats of documents; source 1 costs `planted` more."""
    chance, cells = np.random.default_rng(seed), {}
    common = 1 / np.arange(1, SOURCES + 1)
    for i in range(documents):
        length, source = int(chance.lognormal(6, 1)) + 40, int(chance.choice(SOURCES, p=common / common.sum()))
        hardness = chance.gamma(30, COST / 30) * (1 + planted * (source == 1))
        for tag, tokens in enumerate(chance.multinomial(length, np.full(TAGS, 1 / TAGS)).tolist()):
            nats = tokens * hardness + chance.normal() * 2 * tokens**0.5
            for key in (
                ("all", "all"),
                ("by_source", str(source)),
                ("by_length", str(np.searchsorted(LENGTHS, length))),
                ("by_pos", str(tag)),
            ):
                own = cells.setdefault(key, {}).setdefault(f"d{i}", Tally())
                own.tokens, own.bytes, own.nats = own.tokens + tokens, own.bytes + 4 * tokens, own.nats + nats
    return cells


def obvious(cells: Cells, seed: int) -> bool:
    """Whether any slice's own interval of the excess over all tokens lies above 0."""
    ids = list(cells["all", "all"])
    whole = np.array([[one.nats, one.tokens] for one in cells["all", "all"].values()]).T
    for key, parts in cells.items():
        own = np.array([[parts[i].nats, parts[i].tokens] if i in parts else [0.0, 0.0] for i in ids]).T
        if key[0] != "all" and len(parts) >= 6 and (whole[1] - own[1]).any():
            nats, tokens, rest_nats, rest_tokens = drawn_sums([*own, *(whole - own)], DRAWS, seed)
            with np.errstate(divide="ignore", invalid="ignore"):
                drawn = nats / tokens - rest_nats / rest_tokens
            if interval_of(drawn[np.isfinite(drawn)])[0] > 0:
                return True
    return False


def main() -> None:
    rows = {}
    for documents in (12, 50, 200):
        even = [corpus(documents, seed) for seed in range(CORPORA)]
        planted = [corpus(documents, seed, PLANTED) for seed in range(CORPORA)]
        found = [
            {(spot["kind"], spot["slice"]) for spot in weak_spots(one, DRAWS, seed)[0]}
            for seed, one in enumerate(planted)
        ]
        rows[documents] = {
            "alarm": np.mean([bool(weak_spots(one, DRAWS, seed)[0]) for seed, one in enumerate(even)]),
            "alarm of single intervals": np.mean([obvious(one, seed) for seed, one in enumerate(even)]),
            "found": np.mean([("source", "1") in spots for spots in found]),
        }
        print(documents, {name: f"{value:.1%}" for name, value in rows[documents].items()}, flush=True)
    write_result(
        "weak_spots",
        {str(documents): {name: float(value) for name, value in row.items()} for documents, row in rows.items()},
    )


if __name__ == "__main__":
    main()
