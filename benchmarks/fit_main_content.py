"""Fit the weights of `main_content`, and judge them on pages that they were not fitted on.

    python -m benchmarks.fit_main_content --wcxb FOLDER --aeb FOLDER [--foldings 3] [--peer] [--write]

A block is content where people's text has most of its runs of four words; a shorter one, where it stands there between its
neighbours. Weights are those of a logistic regression with a ridge (L-BFGS); every page counts by a power of its length.
Five folds by site; each page is then chosen from with the weights of the folds without it, by the product's own
rules. Which sites share a fold moves the figure of 90 pages by a hundredth, so several foldings are tried. With --peer the texts
of the first are compared with trafilatura's, page by page and for each type of page. With --write the weights of all pages go into
privllm/clean/main_content_weights.py.
"""

import argparse
from bisect import bisect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from unittest import mock

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from benchmarks.common import ROOT
from benchmarks.extraction import (
    Case,
    interval,
    read_aeb,
    read_wcxb,
    shingle_f1,
    snippets_found,
    trafilaturas,
    word_f1,
    words_of,
)
from privllm.clean import block_features, main_content
from privllm.clean.html import read_page
from privllm.clean.page_blocks import Block, Page
from privllm.clean.page_tree import Tree

FOLDS = 5
RUN = 4  # words
NEAR = 60  # words around the place where a short block would stand, at the ends of the page
RIDGE = 250.0  # the larger, the smaller the weights
LENGTH_POWER = 0.3  # of a page's words: how much it counts
NEWS = 3.0  # how much more a page of article-extraction-benchmark counts: they are a fifth
MIN_BLOCKS = 30  # in which a name must be true, and on
MIN_PAGES = 10
MIN_WEIGHT = 3  # hundredths of a logit; smaller weights are left out
TABLE = ROOT / "privllm/clean/main_content_weights.py"
HEADER = '''"""Weights of what can be true of a block of a page, in hundredths of a logit; 0 for what is not listed.

Written by `benchmarks/fit_main_content.py`, from pages of WCXB (CC-BY-4.0) and article-extraction-benchmark (MIT).
"""

WEIGHTS = {
'''
Floats = npt.NDArray[np.float64]


@dataclass
class Sample:
    """A page with what is true of its blocks, and which of them are content."""

    case: Case
    page: Page
    names: list[list[str]]
    labels: list[bool]
    words: list[int]


def labels_of(blocks: list[Block], truth: str) -> list[bool]:
    """Return for each block whether people's text has it."""
    wanted = words_of(truth)
    places: dict[tuple[str, ...], list[int]] = {}
    for start in range(len(wanted) - RUN + 1):
        places.setdefault(tuple(wanted[start : start + RUN]), []).append(start)
    words = [words_of(block.text) for block in blocks]
    labels = [False] * len(blocks)
    spans: dict[int, tuple[int, int]] = {}  # of a long block that is content: where it stands in the truth
    for index, own in enumerate(words):
        runs = [tuple(own[start : start + RUN]) for start in range(len(own) - RUN + 1)]
        found = [run for run in runs if run in places]
        if runs and 2 * len(found) > len(runs):
            labels[index] = True
            spans[index] = places[found[0]][0], places[found[-1]][-1] + RUN
    known = sorted(spans)
    for index, own in enumerate(words):
        if 0 < len(own) < RUN:
            place = bisect(known, index)
            first = spans[known[place - 1]][1] if place else 0
            last = spans[known[place]][0] if place < len(known) else len(wanted)
            if not place:
                first = max(0, last - NEAR)
            elif place == len(known) or last < first:
                last = first + NEAR
            between = wanted[max(0, first - 2) : last + 2]
            labels[index] = any(between[at : at + len(own)] == own for at in range(len(between) - len(own) + 1))
    return labels


def read_sample(case: Case) -> Sample:
    page = read_page(case.page, 64_000_000)
    names = block_features.features(page, Tree(page)) if page.blocks else []
    words = [max(1, len(words_of(block.text))) for block in page.blocks]
    return Sample(case, page, names, labels_of(page.blocks, case.truth), words)


def fold_of(case: Case, folding: int) -> int:
    salted = f"{folding or ''}{case.site}"
    return int(sha256(salted.encode()).hexdigest(), 16) % FOLDS


def fit(samples: list[Sample], names: list[str]) -> dict[str, int]:
    """Return the table of weights."""
    column = {name: number for number, name in enumerate(names)}
    rows: list[int] = []
    columns: list[int] = []
    labels: list[bool] = []
    importance: list[float] = []
    for sample in samples:
        whole = sum(sample.words) ** (1 - LENGTH_POWER) / (1.0 if sample.case.kind else NEWS)
        for true_names, label, words in zip(sample.names, sample.labels, sample.words, strict=True):
            known = [column[name] for name in true_names if name in column]
            rows += [len(labels)] * len(known)
            columns += known
            labels.append(label)
            importance.append(words / whole)
    matrix = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(labels), len(names)))
    counts = np.array(importance) / np.mean(importance)
    loss = _loss(matrix, np.array(labels, float), counts)
    solved = minimize(loss, np.zeros(len(names) + 1), jac=True, method="L-BFGS-B", options={"maxiter": 60})
    table = {name: round(100 * weight) for name, weight in zip([*names, "always"], solved.x, strict=True)}
    return {name: weight for name, weight in table.items() if abs(weight) >= MIN_WEIGHT or name == "always"}


def _loss(matrix: csr_matrix, labels: Floats, counts: Floats) -> Callable[[Floats], tuple[float, Floats]]:
    transposed = matrix.T.tocsr()

    def loss(weights: Floats) -> tuple[float, Floats]:
        scores = matrix @ weights[:-1] + weights[-1]
        errors = counts * (1 / (1 + np.exp(-scores)) - labels)
        value = counts @ (np.logaddexp(0, scores) - labels * scores) + RIDGE / 2 * weights[:-1] @ weights[:-1]
        return float(value), np.append(transposed @ errors + RIDGE * weights[:-1], errors.sum())

    return loss


def texts_of(samples: list[Sample], table: dict[str, int]) -> list[str]:
    """Return what the product would choose with this table."""
    texts: list[str] = []
    with mock.patch.object(block_features, "WEIGHTS", table):
        block_features.forget_tables()
        for sample in samples:
            kept = main_content.choose(sample.page)
            texts.append(
                "\n".join(block.text for block, is_kept in zip(sample.page.blocks, kept, strict=True) if is_kept)
            )
    return texts


def cross_validated(samples: list[Sample], names: list[str], folding: int) -> list[str]:
    """Return the text of each page, chosen by weights of other sites."""
    texts = [""] * len(samples)
    for fold in range(FOLDS):
        places = [place for place, sample in enumerate(samples) if fold_of(sample.case, folding) == fold]
        table = fit([sample for place, sample in enumerate(samples) if place not in set(places)], names)
        for place, text in zip(places, texts_of([samples[place] for place in places], table), strict=True):
            texts[place] = text
    return texts


def describe(cases: list[Case], texts: list[str]) -> None:
    news = [place for place, case in enumerate(cases) if not case.kind]
    others = [place for place, case in enumerate(cases) if case.kind]
    if news:
        score = shingle_f1([cases[place] for place in news], [texts[place] for place in news])
        print(f"article-extraction-benchmark, shingle F1 {score:.4f}")
    if not others:
        return
    kinds: dict[str, list[float]] = {}
    for place in others:
        score = word_f1(cases[place].truth, texts[place])
        kinds.setdefault("all", []).append(score)
        kinds.setdefault(cases[place].kind, []).append(score)
    print("WCXB, word F1", ", ".join(f"{kind} {np.mean(scores):.4f}" for kind, scores in kinds.items()))
    chosen = [texts[place] for place in others]
    needed = snippets_found([cases[place].needed for place in others], chosen)
    unwanted = snippets_found([cases[place].unwanted for place in others], chosen)
    print(f"needed kept {needed:.3f}, boilerplate left {unwanted:.3f}", flush=True)


def compare(cases: list[Case], texts: list[str]) -> None:
    """Print trafilatura's figures, and the paired differences of WCXB's pages to ours, of all and of each type of page."""
    _, peers = trafilaturas([case.page for case in cases])
    print("\ntrafilatura")
    describe(cases, peers)
    print("\n| WCXB, type of page | pages | ours - trafilatura, word F1 | 95 % |\n|---|---|---|---|")
    for kind in ["", *sorted({case.kind for case in cases} - {""})]:
        places = [place for place, case in enumerate(cases) if case.kind and kind in ("", case.kind)]
        if not places:
            continue
        scores = [[word_f1(cases[place].truth, found[place]) for place in places] for found in (texts, peers)]
        differences = [ours - its for ours, its in zip(*scores, strict=True)]
        low, high = interval(differences)
        print(f"| {kind or 'all'} | {len(places)} | {np.mean(differences):+.3f} | {low:+.3f} to {high:+.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wcxb", type=Path, required=True)
    parser.add_argument("--aeb", type=Path, required=True)
    parser.add_argument("--foldings", type=int, default=3)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    cases = read_wcxb(arguments.wcxb) + read_aeb(arguments.aeb)
    samples = [read_sample(case) for case in cases]
    blocks: Counter[str] = Counter()
    pages: Counter[str] = Counter()
    for sample in samples:
        true_names = [name for names in sample.names for name in names]
        blocks.update(true_names)
        pages.update(set(true_names))
    names = sorted(name for name in blocks if blocks[name] >= MIN_BLOCKS and pages[name] >= MIN_PAGES)
    print(f"{len(samples)} pages, {len(names)} names; cross-validated over {FOLDS} folds of sites:")
    for folding in range(arguments.foldings):
        texts = cross_validated(samples, names, folding)
        print(f"\nfolding {folding}")
        describe(cases, texts)
        if arguments.peer and not folding:
            compare(cases, texts)
    if arguments.write:
        table = fit(samples, names)
        lines = [f'    "{name}": {weight},\n' for name, weight in sorted(table.items())]
        TABLE.write_text(HEADER + "".join(lines) + "}\n", "utf-8")
        print(f"{len(table)} weights in {TABLE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
