"""Main content of HTML pages, ours and trafilatura in turn: agreement with people's choice, lists of manuals, speed.

    python -m benchmarks.extraction --wcxb FOLDER --aeb FOLDER --manuals FOLDER [FOLDER ...]

WCXB and article-extraction-benchmark are folders with `html/*.html.gz` and their ground truth; a manual is a folder of HTML
pages. Figures whose folder is not named are left out. trafilatura runs in an environment of its own. The weights of
`main_content` were fitted on the halves of both sets that the project has, so on these the figures of
`benchmarks/fit_main_content.py`, which are cross-validated, are the expected ones.
"""

import argparse
import gzip
import json
import re
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from resiliparse.parse.html import HTMLTree, NodeType

from benchmarks.common import OUT, peers_python, write_result
from privllm.clean.html import extract
from privllm.collect.decode import decode
from privllm.collect.documents import Unreadable

ROUNDS = 5
SHINGLE = 4  # words, as in article-extraction-benchmark
MIN_ITEM_WORDS = 8  # of an item of a list that is prose
ITEM_WORDS = 20  # of the item's beginning that are looked for
COMMON_LINE = 0.1  # share of a manual's pages; a line on more is taken for navigation
MAX_CHARACTERS = 64_000_000
NAVIGATION = (
    "nav, header, footer, aside, [role=navigation], [class*=nav], [class*=sidebar], [class*=toc], [class*=related]"
)
TRAFILATURA = """
import json, sys, time
import trafilatura
pages = [json.loads(line) for line in sys.stdin]
for page in pages[:20]:
    trafilatura.extract(page)
start = time.process_time()
texts = [trafilatura.extract(page) or "" for page in pages]
print(json.dumps([time.process_time() - start, texts]))
"""
_WORD = re.compile(r"\w+")
_LINE_END = re.compile(r"<(?:br|/?p|/?div|/?dd|/?dt|/?pre)\b[^>]*>")


@dataclass
class Case:
    """A page, and what people say is its content."""

    page: str
    truth: str
    site: str
    kind: str = ""
    needed: list[str] = field(default_factory=list)  # snippets that must be there
    unwanted: list[str] = field(default_factory=list)  # snippets of boilerplate


def read_wcxb(folder: Path) -> list[Case]:
    """Return the pages of WCXB in `folder`, by name."""
    cases: list[Case] = []
    sites = json.loads((folder / "metadata.json").read_text("utf-8"))
    for path in sorted((folder / "ground-truth").glob("*.json")):
        described = json.loads(path.read_text("utf-8"))
        truth = described["ground_truth"]
        kind = described["_internal"]["page_type"]["primary"]
        page = gzip.decompress((folder / "html" / f"{path.stem}.html.gz").read_bytes()).decode("utf-8", "replace")
        cases.append(
            Case(page, truth["main_content"], sites[path.stem]["domain"], kind, truth["with"], truth["without"])
        )
    return cases


def read_aeb(folder: Path) -> list[Case]:
    """Return the pages of article-extraction-benchmark in `folder`, by name."""
    cases: list[Case] = []
    truths = json.loads((folder / "ground-truth.json").read_text("utf-8"))
    for name, described in sorted(truths.items()):
        page = gzip.decompress((folder / "html" / f"{name}.html.gz").read_bytes()).decode("utf-8", "replace")
        cases.append(Case(page, described["articleBody"], name))
    return cases


def words_of(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def overlap(truth: Counter, found: Counter) -> tuple[float, float]:
    """Return (precision, recall) of two bags; 1 where there was nothing to find or to get wrong."""
    common = (truth & found).total()
    return common / found.total() if found else 1.0, common / truth.total() if truth else 1.0


def harmonic(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def word_f1(truth: str, found: str) -> float:
    return harmonic(*overlap(Counter(words_of(truth)), Counter(words_of(found))))


def shingle_f1(cases: list[Case], texts: list[str]) -> float:
    """Return the F1 of the mean precision and the mean recall, as article-extraction-benchmark has it."""
    pairs = [overlap(shingles(case.truth), shingles(text)) for case, text in zip(cases, texts, strict=True)]
    return harmonic(statistics.mean(pair[0] for pair in pairs), statistics.mean(pair[1] for pair in pairs))


def shingles(text: str) -> Counter:
    words = _WORD.findall(text)
    if not words:
        return Counter()
    return Counter(tuple(words[start : start + SHINGLE]) for start in range(max(1, len(words) - SHINGLE + 1)))


def snippets_found(snippets: list[list[str]], texts: list[str]) -> float:
    """Return the share of all snippets that stand in their page's text."""
    found = total = 0
    for wanted, text in zip(snippets, texts, strict=True):
        line = f" {' '.join(words_of(text))} "
        total += len(wanted)
        found += sum(f" {' '.join(words_of(snippet))} " in line for snippet in wanted)
    return found / max(1, total)


def interval(differences: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of paired differences (bootstrap over pages)."""
    values = np.array(differences)
    draws = np.random.default_rng(0).integers(0, len(values), (4000, len(values)))
    low, high = np.quantile(values[draws].mean(1), (0.025, 0.975))
    return float(low), float(high)


def ours(pages: list[str]) -> tuple[float, list[str]]:
    """Return (seconds of this process, texts)."""
    for page in pages[:20]:
        extract(page, MAX_CHARACTERS)
    start = time.process_time()
    texts = [extract(page, MAX_CHARACTERS) for page in pages]
    return time.process_time() - start, texts


def trafilaturas(pages: list[str]) -> tuple[float, list[str]]:
    """Return (seconds of trafilatura's process without its start, texts)."""
    lines = "".join(json.dumps(page) + "\n" for page in pages)
    command = [str(peers_python()), "-c", TRAFILATURA]
    said = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    seconds, texts = json.loads(said.stdout.splitlines()[-1])
    return seconds, texts


def in_turn(pages: list[str], rounds: int) -> dict[str, tuple[float, list[str]]]:
    """Return for each extractor (median of the seconds, texts of the last round)."""
    ways: dict[str, Callable[[list[str]], tuple[float, list[str]]]] = {"ours": ours, "trafilatura": trafilaturas}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    texts: dict[str, list[str]] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            spent, texts[name] = way(pages)
            seconds[name].append(spent)
    return {name: (statistics.median(seconds[name]), texts[name]) for name in ways}


def compare(name: str, cases: list[Case], rounds: int) -> dict[str, object]:
    """Print and return the figures of one set."""
    megabytes = sum(len(case.page) for case in cases) / 1e6
    results = in_turn([case.page for case in cases], rounds)
    figures: dict[str, object] = {}
    for way, (seconds, texts) in results.items():
        figures[f"{way} MB/s"] = round(megabytes / seconds, 2)
        figures[f"{way} shingle F1"] = round(shingle_f1(cases, texts), 4)
        if any(case.unwanted for case in cases):
            figures[f"{way} needed kept"] = round(snippets_found([case.needed for case in cases], texts), 4)
            figures[f"{way} boilerplate left"] = round(snippets_found([case.unwanted for case in cases], texts), 4)
    scores = {
        way: [word_f1(case.truth, text) for case, text in zip(cases, texts, strict=True)]
        for way, (_, texts) in results.items()
    }
    for kind in ["", *sorted({case.kind for case in cases} - {""})]:
        places = [place for place, case in enumerate(cases) if kind in ("", case.kind)]
        differences = [scores["ours"][place] - scores["trafilatura"][place] for place in places]
        low, high = interval(differences)
        mean = statistics.mean(scores["ours"][place] for place in places)
        figures[f"word F1 {kind or 'of all'}"] = (
            f"{mean:.3f}, {statistics.mean(differences):+.3f} [{low:+.3f}, {high:+.3f}] against trafilatura"
        )
    print(f"\n{name}, {len(cases)} pages")
    for key, value in figures.items():
        print(f"  {key:32} {value}")
    return figures


def prose_items(page: str) -> Iterator[str]:
    """Yield the beginnings, as words, of a page's items of lists that are prose and no navigation; by the DOM alone."""
    body = HTMLTree.parse(page).body
    if body is None:
        return
    # A walk, since the n-th node of a collection is found in time that grows with n.
    elements = [node for node in body if node.type == NodeType.ELEMENT]
    items = []
    for node in elements:
        if node.matches(NAVIGATION) or (node.parent is not None and node.parent.hasattr("data-navigation")):
            node.setattr("data-navigation", "")
        elif node.tag == "li":
            items.append(node)
    for item in items:
        own = item.clone_node(True)
        for left_out in own.query_selector_all("ul, ol, table, script, style, noscript, button, select"):
            left_out.parent.remove_child(left_out)
        # lines and paragraphs end words, which the text of a node does not show
        parted = HTMLTree.parse(_LINE_END.sub(r" \g<0>", own.html)).body
        words = words_of(parted.text or "") if parted is not None else []
        linked = sum(len(words_of(link.text or "")) for link in own.query_selector_all("a[href]"))
        if len(words) >= MIN_ITEM_WORDS and 2 * linked < len(words):
            yield " ".join(words[:ITEM_WORDS])


def describe_manual(folder: Path) -> dict[str, object]:
    """Return how many prose items of its pages are kept, and which share of lines stands on many pages."""
    items = kept = 0
    lines: Counter[str] = Counter()
    pages_of_line: Counter[str] = Counter()
    paths = sorted(path for path in folder.rglob("*.html*") if path.is_file() and not path.is_symlink())
    for path in paths:
        try:
            page = decode(path.read_bytes(), markup=True).text
        except Unreadable:  # Debian keeps some compressed
            continue
        text = extract(page, MAX_CHARACTERS)
        line_of_words = f" {' '.join(words_of(text))} "
        for item in prose_items(page):
            items += 1
            kept += f" {item} " in line_of_words
        own = [line.strip() for line in text.split("\n") if words_of(line)]
        lines.update(own)
        pages_of_line.update(set(own))
    limit = max(10, COMMON_LINE * len(paths))
    common = sum(count for line, count in lines.items() if pages_of_line[line] >= limit)
    return {
        "pages": len(paths),
        "prose items": items,
        "kept": round(kept / max(1, items), 4),
        "lines on many pages": round(common / max(1, lines.total()), 4),
        "the commonest": [line[:60] for line, _ in pages_of_line.most_common(5)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wcxb", type=Path)
    parser.add_argument("--aeb", type=Path)
    parser.add_argument("--manuals", type=Path, nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    result: dict[str, object] = {}
    if arguments.aeb:
        result["aeb"] = compare("article-extraction-benchmark", read_aeb(arguments.aeb), arguments.rounds)
    if arguments.wcxb:
        result["wcxb"] = compare("WCXB", read_wcxb(arguments.wcxb), arguments.rounds)
    for folder in arguments.manuals:
        result[folder.name] = describe_manual(folder)
        print(f"\n{folder.name}: {result[folder.name]}")
    if not result:
        parser.error("name a folder with --wcxb, --aeb or --manuals")
    write_result("extraction", result)


if __name__ == "__main__":
    main()
