"""Passages of about 2 KB of real documentation, for `benchmarks.rebuild`: one JSON line each, cut at line ends, no two from the same place.

    python -m benchmarks.passages COUNT OUT.jsonl [--html FOLDER]

Without --html the text is that of Debian's linux-doc-6.1, openjdk-17-doc, rust-doc and others (250 MB to fetch by apt, 2 GB of HTML).
"""

import argparse
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from resiliparse.extract.html2text import extract_plain_text

from benchmarks.common import OUT

PACKAGES = (
    "linux-doc-6.1",
    "openjdk-17-doc",
    "rust-doc",
    "erlang-doc",
    "python-scipy-doc",
    "python3.11-doc",
    "postgresql-doc-15",
    "sagemath-doc",
    "qtbase5-doc-html",
    "nodejs-doc",
    "python-django-doc",
    "octave-doc",
)
CHARACTERS = 2000
LEAST = 1000


def pages() -> Iterator[Path]:
    if not shutil.which("apt-get"):
        raise SystemExit("no apt-get here: name a folder of HTML pages with --html")
    debs = OUT / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        folder = OUT / package
        if not folder.exists():
            if not list(debs.glob(f"{package}_*.deb")):
                subprocess.run(["apt-get", "download", package], cwd=debs, check=True, stdout=subprocess.DEVNULL)
            subprocess.run(["dpkg", "-x", next(debs.glob(f"{package}_*.deb")), folder], check=True)
        yield from sorted(path for path in folder.rglob("*.html") if path.is_file() and not path.is_symlink())


def cut(text: str) -> Iterator[str]:
    """Pieces of whole lines with at least `CHARACTERS`; a shorter rest of `LEAST` counts too."""
    held: list[str] = []
    size = 0
    for line in text.split("\n"):
        held.append(line[: 4 * CHARACTERS])
        size += len(held[-1]) + 1
        if size >= CHARACTERS:
            yield "\n".join(held)
            held, size = [], 0
    if size >= LEAST:
        yield "\n".join(held)


def write_passages(count: int, out: Path, html: Path | None = None) -> int:
    """Write `count` passages, or as many as there are; returns how many."""
    seen: set[int] = set()
    partial = out.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        for page in sorted(html.rglob("*.html")) if html else pages():
            text = extract_plain_text(page.read_text("utf-8", "replace"), main_content=True, alt_texts=False)
            for passage in cut(text):
                if hash(passage) in seen:
                    continue
                seen.add(hash(passage))
                file.write(json.dumps({"text": passage}) + "\n")
                if len(seen) == count:
                    break
            if len(seen) == count:
                break
    partial.replace(out)
    return len(seen)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("--html", type=Path, default=None)
    args = parser.parse_args()
    print(f"{write_passages(args.count, args.out, args.html)} passages")
