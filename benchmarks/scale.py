"""What models of 1, 7 and 70 B need on 1, 8 and 512 cards, by arithmetic: `python -m benchmarks.scale` prints the table of the docs.

Of each the first way that fits into a card of 80 GiB: full in fp32 with AdamW, full in bf16 with states of 8 bits, adapters beside NF4; and
models are cut (fsdp) where `train.strategy: auto` would. Memory is that of `memory_need`, by one row of 4,096 tokens for each card. N are
the weights, M those that learn, P the cards, b the bytes of a weight on its way:

    traffic of a card and step    ddp: 2 x b x M x (P - 1) / P    fsdp: (2 b + 4) x N x (P - 1) / P, for each pass of rows
    hours                         6 x N x 20 N / (P x MFU x peak) / 3600; 4 instead of 6 for adapters, whose model needs no gradient

It measures nothing: no such cluster was to be had.
"""

from typing import NamedTuple

from privllm.train.memory_need import GIB, Shape, Way, bytes_needed, is_cut

LENGTH = 4096
CARD = 80 * GIB
PEAK, MFU = 989e12, 0.4  # FLOP/s of an H100 in bf16, and the share of it that is assumed
INSIDE, BETWEEN = (
    450e9,
    50e9,
)  # bytes a second of a card to others in its machine (NVLink), and of other machines (400 Gb/s)
IN_MACHINE = 8
SHAPES = {
    "1 B": Shape(16, 2048, 8192, 2048, 512, 128_256 * 2048, 128_256),
    "7 B": Shape(32, 4096, 11_008, 4096, 4096, 2 * 32_000 * 4096, 32_000),
    "70 B": Shape(80, 8192, 28_672, 8192, 1024, 2 * 128_256 * 8192, 128_256),
}
WAYS = {
    "full, fp32, AdamW": Way("32", "adamw", 0, True, True),
    "full, bf16, `adamw8`": Way("bf16", "adamw8", 0, True, True),
    "NF4, adapters of rank 16": Way("nf4", "adamw", 16, True, True),
}
HEADS = ("model", "cards", "way", "shared by", "GiB a card", "GB of traffic", "s of it", "s of computing", "hours")


class Row(NamedTuple):
    """A line of the table."""

    model: str
    cards: int
    way: str
    strategy: str
    gib: float
    traffic: float  # bytes of a card in a step
    traffic_seconds: float
    seconds: float  # of computing a row
    hours: float


class Fit(NamedTuple):
    """A way to train, whether the model is cut for it, and what it needs of a card."""

    name: str
    way: Way
    is_cut: bool
    bytes: int


def fit_of(shape: Shape, cards: int) -> Fit:
    """Return the first way that fits, else the last one."""
    fits = []
    for name, way in WAYS.items():
        need = bytes_needed(shape, way, 1, LENGTH)
        cut = cards > 1 and is_cut("auto", way, need, CARD)
        if cut:
            need = bytes_needed(shape, way._replace(shares=cards), 1, LENGTH)
        fits.append(Fit(name, way, cut, need))
    return next((fit for fit in fits if fit.bytes <= CARD), fits[-1])


def row_of(model: str, cards: int) -> Row:
    """Return the line of a model on so many cards."""
    shape = SHAPES[model]
    name, way, cut, need = fit_of(shape, cards)
    weights = shape.matrices + shape.embeddings
    learning = way.rank * shape.adapted if way.rank else weights
    on_the_way = 4 if way.rank or way.weights == "32" else 2  # bytes of a gradient
    others = (cards - 1) / cards
    traffic = (2 * 2 + 4) * weights * others if cut else 2 * on_the_way * learning * others
    flops = (4 if way.rank else 6) * weights
    speed = MFU * PEAK
    return Row(
        model=model,
        cards=cards,
        way=name,
        strategy="fsdp" if cut else "ddp" if cards > 1 else "",
        gib=need / GIB,
        traffic=traffic,
        traffic_seconds=traffic / (INSIDE if cards <= IN_MACHINE else BETWEEN),
        seconds=flops * LENGTH / speed,
        hours=flops * 20 * weights / (cards * speed) / 3600,
    )


def table() -> str:
    """Return the table as Markdown, and below it what follows from it."""
    lines = ["| " + " | ".join(HEADS) + " |", "|---" * len(HEADS) + "|"]
    for model in SHAPES:
        for cards in (1, 8, 512):
            row = row_of(model, cards)
            figures = (f"{row.gib:.0f}", f"{row.traffic / 1e9:.1f}", f"{row.traffic_seconds:.2f}", f"{row.seconds:.2f}")
            cells = (
                model,
                str(cards),
                row.way,
                row.strategy,
                *figures,
                f"{row.hours:,.1f}" if row.hours < 10 else f"{row.hours:,.0f}",
            )
            lines.append("| " + " | ".join(cells) + " |")
    enough = (2 * 2 + 4) / BETWEEN * MFU * PEAK / 6
    lines += [
        "",
        f"A cut model of any size computes as long as it borrows when a card's pass has {enough:,.0f} positions at 400 Gb/s, and "
        f"{enough * BETWEEN / INSIDE:,.0f} inside a machine.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
