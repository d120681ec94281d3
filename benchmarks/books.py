"""Debian's handbooks in four formats: how many words of the HTML stand in the same order in the PDF, the text and the EPUB.

    apt-get download developers-reference debian-policy debian-reference-en debian-faq
    for package in *.deb; do dpkg -x $package FOLDER; done
    python -m benchmarks.books FOLDER

All are read and cleaned as a build does it, by `collect` and `clean`. Words are compared by `git diff`, which finds the most words in
common in one order of the whole book; a second share counts also runs of five words that stand elsewhere, for a printed page moves
footnotes and tables; beside it stands what pdftotext, where it is installed, gives in one order. Headings are those of the HTML;
one is kept where the other format has it as a heading, plain text as a line. Of the PDF, 200 lines drawn by a fixed seed are
searched for page numbers, running headers and hyphens at their ends. With `--layout`, what is out of order in the PDF of the
reference is told by its kinds: titles of cross references that it does not print, captions below their tables, tables elsewhere.
"""

import gzip
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import write_result
from privllm.clean.recipe import CleanConfig, clean_document
from privllm.collect.documents import CollectedDocument
from privllm.collect.read_file import read_file

SHARE = "usr/share"
BOOKS = {  # {name: (folder of the pages, the page that lists them, {format: file})}
    "developers-reference": (
        f"{SHARE}/developers-reference",
        "index.html",
        {ending: f"{SHARE}/developers-reference/developers-reference.{ending}" for ending in ("pdf", "txt.gz", "epub")},
    ),
    "debian-policy": (
        f"{SHARE}/doc/debian-policy/policy.html",
        "index.html",
        {ending: f"{SHARE}/doc/debian-policy/policy.{ending}" for ending in ("pdf.gz", "txt.gz", "epub")},
    ),
    "debian-reference-en": (
        f"{SHARE}/debian-reference",
        "index.en.html",
        {ending: f"{SHARE}/debian-reference/debian-reference.en.{ending}" for ending in ("pdf", "txt.gz")},
    ),
    "debian-faq": (
        f"{SHARE}/doc/debian/FAQ",
        "index.en.html",
        {ending: f"{SHARE}/doc/debian/FAQ/debian-faq.en.{ending}" for ending in ("pdf.gz", "txt.gz")},
    ),
}
NOT_TEXT = ("genindex", "search", "index")
SAMPLED = 200
RUN = 5  # words that stand together elsewhere: a footnote or a table that the printed page moved
HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? ")
WORD = re.compile(r"\w+")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
NUMBERING = re.compile(r"^(?:chapter|appendix)?\s*(?:\d+|[A-Z])?(?:\.\d+)*\.?\s+", re.IGNORECASE)
PAGE_NUMBER = re.compile(r"\s*(?:page )?(?:\d{1,4}|[ivxl]{1,7})\s*", re.IGNORECASE)
CAPTION = re.compile(r"\**Table \d+\.\d+\. ")
CROSS_REFERENCE = re.compile(r"((?:Section|Chapter|Appendix) [\dA-Z][\d.]*), “[^”]*”")
AT_AN_END = re.compile(r"^\d+ ?(?=chapter )|(?<=\D) \d+$", re.IGNORECASE)
LINK = re.compile(r'<a[^>]+href="([^"#]+\.html)(?:#[^"]*)?"')


def texts_of(path: Path) -> list[str]:
    """Return the cleaned texts of a file, of all chapters of a book."""
    texts = []
    for row in read_file(path, path.parent, 1 << 30):
        if isinstance(row, CollectedDocument):
            texts.append(clean_document(CleanConfig(), row.media_type, row.text).text)
    return texts


def pages_of(folder: Path, index: str) -> list[Path]:
    """Return the pages of a book in the order in which its index links to them."""
    names = dict.fromkeys(LINK.findall((folder / index).read_text("utf-8")))
    pages = [folder / name for name in names if "/" not in name and (folder / name).is_file()]
    return [page for page in pages if page.name.partition(".")[0] not in NOT_TEXT]


def unpacked(path: Path, scratch: Path) -> Path:
    """Return a file as a reader gets it from the archive that its gzip is, under a name of its own."""
    if path.suffix != ".gz":
        return path
    target = scratch / path.stem
    target.write_bytes(gzip.decompress(path.read_bytes()))
    return target


def pdftotext(path: Path) -> str:
    """Return what poppler's program reads, in the order of the page's content, which is its best here; "" without it."""
    program = shutil.which("pdftotext")
    if program is None:
        return ""
    return subprocess.run([program, "-raw", path, "-"], capture_output=True, text=True).stdout


def words_of(text: str) -> list[str]:
    return WORD.findall(text.lower())


def found_in_order(words: list[str], others: list[str], scratch: Path) -> tuple[float, float, list[str]]:
    """Return how many of `words` stand in the order of the book, how many do so or in a run that was moved, and what does not."""
    files = []
    for name, listed in (("a", words), ("b", others)):
        (scratch / name).write_text("\n".join(listed) + "\n", "utf-8")
        files.append(str(scratch / name))
    command = ["git", "diff", "--no-index", "--unified=0", "--no-color", "--diff-algorithm=minimal", *files]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[4:]
    out_of_order = set()
    for first, count in (HUNK.match(line).groups() for line in lines if line.startswith("@@")):  # type: ignore[union-attr]
        begin = int(first) - 1
        out_of_order.update(range(begin, begin + int(count or 1)))
    runs = set(zip(*(others[place:] for place in range(RUN)), strict=False))
    moved = set()
    for place in range(len(words) - RUN + 1):
        if tuple(words[place : place + RUN]) in runs:
            moved.update(range(place, place + RUN))
    lost = sorted(out_of_order - moved)
    shown = " ".join(words[place] for place in lost[:60])
    return 1 - len(out_of_order) / len(words), 1 - len(lost) / len(words), [shown]


def headings_of(text: str) -> list[str]:
    """Return headings; a comment in a block of code is none."""
    return HEADING.findall(re.sub(r"^(`{3,}).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL))


def plain(heading: str) -> str:
    """Return a heading without its number, mark-up and punctuation."""
    return " ".join(WORD.findall(NUMBERING.sub("", heading.strip("# *")).lower()))


def headings_kept(html: str, text: str, has_headings: bool) -> float:
    wanted = [plain(heading) for heading in headings_of(html)]
    wanted = [heading for heading in wanted if heading]
    present = {plain(line) for line in headings_of(text)}
    running = " ".join(words_of(text))  # a long heading is broken in lines
    kept = [heading in present if has_headings else f" {heading} " in running for heading in wanted]
    return sum(kept) / max(1, len(wanted))


def left_over(text: str, html: str) -> list[str]:
    """Return those of the sampled lines that are a page's number or header, or end in a hyphen."""
    lines = [line for line in text.splitlines() if line.strip()]
    headings = {plain(heading) for heading in headings_of(html)}
    counts: dict[str, int] = {}
    for line in lines:
        key = re.sub(r"\d+", "#", line)
        counts[key] = counts.get(key, 0) + 1
    faults = []
    for line in random.Random(0).sample(lines, min(SAMPLED, len(lines))):
        is_in_html = line.strip() in html
        is_header = (
            not is_in_html
            and counts[re.sub(r"\d+", "#", line)] >= 10
            and len(line) > 10
            and not line.startswith(("#", "|", "-"))
        )
        without_page = plain(AT_AN_END.sub("", line.strip("# ")))
        is_header = is_header or (AT_AN_END.search(line) is not None and not is_in_html and without_page in headings)
        is_hyphenated = re.search(r"[a-z]-$", line) is not None
        if PAGE_NUMBER.fullmatch(line) or is_header or is_hyphenated:
            faults.append(line)
    return faults


def with_captions_below(lines: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Return lines of Markdown whose captions stand below their tables, and apart: those of the text, and of numbered tables."""
    all_lines: list[str] = []
    text: list[str] = []
    tables: list[str] = []
    place = 0
    while place < len(lines):
        end = place + 1
        if not CAPTION.match(lines[place]):
            text.append(lines[place])
            all_lines.append(lines[place])
        else:
            while end < len(lines) and (lines[end].startswith("|") or not lines[end].strip()):
                end += 1
            numbered = [*lines[place + 1 : end], lines[place]]
            tables += numbered
            all_lines += numbered
        place = end
    return all_lines, text, tables


def tell_layout(root: Path) -> None:
    """Print how many words of the reference's HTML are out of order in its PDF, by what the printed page does to them."""
    folder, index, files = BOOKS["debian-reference-en"]
    html = "\n\n".join(text for page in pages_of(root / folder, index) for text in texts_of(page))
    others = words_of("\n\n".join(texts_of(root / files["pdf"])))
    without_titles = CROSS_REFERENCE.sub(r"\1", html)
    below, text, tables = with_captions_below(without_titles.splitlines())
    variants = {
        "all": html,
        "without titles of cross references": without_titles,
        "and with captions below their tables": "\n".join(below),
        "of these the text without numbered tables": "\n".join(text),
        "of these the numbered tables alone": "\n".join(tables),
    }
    print("| words of the HTML | number | in one order | out of it |")
    print("|---|---|---|---|")
    for name, variant in variants.items():
        words = words_of(variant)
        with tempfile.TemporaryDirectory() as scratch:
            in_order, _, _ = found_in_order(words, others, Path(scratch))
        print(f"| {name} | {len(words):,} | {in_order:.4f} | {round((1 - in_order) * len(words)):,} |")


def main(root: Path, verbose: bool) -> None:
    results: list[dict[str, Any]] = []
    print(
        "| book | format | words of the HTML | in one order | or moved in runs | pdftotext's | headings kept | faults in 200 lines |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, (folder, index, files) in BOOKS.items():
        html = "\n\n".join(text for page in pages_of(root / folder, index) for text in texts_of(page))
        words = words_of(html)
        for ending, file in files.items():
            with tempfile.TemporaryDirectory() as scratch:
                kind = ending.removesuffix(".gz")
                path = unpacked(root / file, Path(scratch))
                text = "\n\n".join(texts_of(path))
                in_order, share, missing = found_in_order(words, words_of(text), Path(scratch))
                peers = pdftotext(path) if kind == "pdf" else ""
                peers_share = found_in_order(words, words_of(peers), Path(scratch))[0] if peers else None
            kept = headings_kept(html, text, kind != "txt")
            faults = left_over(text, html) if kind == "pdf" else []
            print(
                f"| {name} | {kind} | {len(words):,} | {in_order:.4f} | {share:.4f} | "
                f"{f'{peers_share:.4f}' if peers_share else ''} | {kept:.3f} | {len(faults)} |",
                flush=True,
            )
            if verbose:
                print("\n".join([*missing, *faults]))
            results.append(
                {
                    "book": name,
                    "format": kind,
                    "words": len(words),
                    "in_order": in_order,
                    "share": share,
                    "pdftotext": peers_share,
                    "headings": kept,
                    "faults": faults,
                }
            )
    write_result("books", {"rows": results})


if __name__ == "__main__":
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_dir():
        raise SystemExit(__doc__)
    if "--layout" in sys.argv:
        tell_layout(Path(sys.argv[1]))
    else:
        main(Path(sys.argv[1]), "--verbose" in sys.argv)
