"""Raw HTML to packed tokens: our stages against datatrove followed by `datasets.map`, in turn, medians.

    python -m benchmarks.data_path [--html FOLDER] [--rounds 3]

Ours is the sum of the stages collect, clean, dedup and pack, every write included; the tokenizer is learnt before, for both.
Two clocks: without imports, as the peer's own script has it (the stages' log), and the wall time of our four commands, start-up
and imports included, against the same figure of the peer's two scripts. Default corpus: Debian's sqlite3-doc (767 pages, 22 MB).
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import OUT, ROOT, peers_python, said, sqlite_doc, write_result

STAGES = {
    "collect": "data/sources data/collect reports/collect.json",
    "clean": "data/collect data/clean reports/clean.json",
    "dedup": "data/clean data/dedup reports/dedup.json",
    "pack": "data/dedup data/tokenizer data/promoted/weak_spots.json data/pack reports/pack.json",
}


def prepare(html: Path, root: Path) -> None:
    """A working folder with our code, the pages as sources, fingerprints, and a tokenizer learnt on the pages."""
    for name in ("privllm", "stages"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "data/promoted").mkdir(parents=True)
    for name in ("params.yaml", "requirements.lock", "data/promoted/weak_spots.json"):
        shutil.copyfile(ROOT / name, root / name)
    shutil.copytree(html, root / "data/sources")
    stage(root, "fingerprint", "data/fingerprint reports/fingerprint.json")
    for name in ("collect", "clean", "dedup"):
        stage(root, name, STAGES[name])
    stage(root, "tokenizer", "data/dedup/sample data/start/tokenizer data/tokenizer reports/tokenizer.json")


def stage(root: Path, name: str, arguments: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", f"stages.{name}", *arguments.split()], cwd=root, check=True)
    return time.perf_counter() - start


def ours(root: Path) -> dict:
    for name in STAGES:
        shutil.rmtree(root / f"data/{name}", ignore_errors=True)
    log = root / ".privllm/log.jsonl"
    log.unlink(missing_ok=True)
    wall = {name: round(stage(root, name, arguments), 2) for name, arguments in STAGES.items()}
    inside = {entry["stage"]: entry["seconds"] for entry in map(json.loads, log.read_text().splitlines())}
    packed = json.loads((root / "reports/pack.json").read_text())
    return {
        "name": "privllm",
        "seconds": round(sum(inside.values()), 2),
        "wall": round(sum(wall.values()), 2),
        "stages": inside,
        "tokens": sum(packed["tokens"].values()),
    }


def peer(html: Path, root: Path) -> dict:
    texts = root / "peer"
    shutil.rmtree(texts, ignore_errors=True)
    start = time.perf_counter()
    cleaned = said([peers_python(), "benchmarks/peer_datatrove.py", html, texts])
    tokenized = said([sys.executable, "benchmarks/peer_tokenize.py", texts, root / "data/tokenizer/tokenizer.json"])
    return {
        "name": "datatrove + datasets.map",
        "seconds": round(cleaned["seconds"] + tokenized["seconds"], 2),
        "wall": round(time.perf_counter() - start, 2),
        "clean": cleaned,
        "tokenize": tokenized,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--html", type=Path, default=None)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    html = (args.html or sqlite_doc()).resolve()
    megabytes = sum(path.stat().st_size for path in html.rglob("*.html")) / 1e6
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=OUT) as scratch:
        root = Path(scratch)
        prepare(html, root)
        rounds = [(ours(root), peer(html, root)) for _ in range(args.rounds)]
    print(f"raw HTML to packed tokens, {megabytes:.1f} MB, median of {args.rounds}")
    found = {}
    for clock, note in (("seconds", "without imports"), ("wall", "with start-up and imports")):
        a, b = (statistics.median(pair[i][clock] for pair in rounds) for i in (0, 1))
        print(f"  {note}")
        print(f"    privllm                   {a:7.2f} s  {megabytes / a:6.2f} MB/s")
        print(f"    datatrove + datasets.map  {b:7.2f} s  {megabytes / b:6.2f} MB/s")
        print(f"    ratio                     {b / a:7.2f}x  (asked: 8)")
        found[clock] = {"ours_s": a, "peer_s": b, "ratio": round(b / a, 2)}
    write_result("data_path", {"html_mb": round(megabytes, 1), **found, "rounds": rounds})


if __name__ == "__main__":
    main()
