"""Raw HTML to packed tokens: our stages against datatrove followed by `datasets.map`, in turn, medians.

    python -m benchmarks.data_path [--html FOLDER] [--rounds 3]

Ours is the sum of the stages collect, clean, dedup and pack, every write included; the tokenizer is learnt before, for both.
Two clocks: without imports, as the peer's own script has it (the stages' log), and the wall time of our four commands, start-up
and imports included, against the same figure of the peer's two scripts; and both for clean, deduplicated text alone, there ours
through `dvc repro`. Default corpus: Debian's sqlite3-doc (767 pages, 22 MB).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.common import OUT, ROOT, peers_python, said, sqlite_doc, write_result
from privllm.core.work_paths import LOG_FILE, WORK_FOLDER

STAGES = ("collect", "clean", "dedup", "pack")
TEXT_STAGES = STAGES[:3]  # whose output is clean, deduplicated text
INPUTS = ("base", "promoted", "replay", "vocabulary")  # folders of data
FILES = ("dvc.yaml", "params.yaml", "requirements.lock", ".gitignore", ".dvcignore")
CLOCKS = {
    "seconds": "without imports",
    "wall": "with start-up and imports",
    "text seconds": "to clean, deduplicated text, without imports",
    "text wall": "to clean, deduplicated text, ours through `dvc repro`, the peer with start-up",
}
COMMANDS = {
    name: stage.get("cmd", "") for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
}


def prepare(html: Path, root: Path) -> None:
    """A working folder with our code, the pages as sources, fingerprints, and a tokenizer learnt on the pages."""
    for name in ("privllm", "stages"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in INPUTS:
        shutil.copytree(ROOT / "data" / name, root / "data" / name)
    for name in FILES:
        shutil.copyfile(ROOT / name, root / name)
    shutil.copytree(html, root / "data/sources")
    for command in ("git init -q", "dvc init -q", "dvc config core.analytics false", "dvc add -q data/sources"):
        run(root, command)
    for name in ("fingerprint", *TEXT_STAGES, "start", "tokenizer"):
        run(root, COMMANDS[name])


def run(root: Path, command: str) -> float:
    """Return the seconds of a command, by this Python and its environment's programs."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    start = time.perf_counter()
    subprocess.run(command.split(), cwd=root, check=True, env=os.environ | {"PATH": path}, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def forget(root: Path) -> None:
    """Remove all that was built but the tokenizer, and what was read of the code."""
    for name in (*(f"data/{stage}" for stage in STAGES), ".dvc/cache", ".dvc/tmp", WORK_FOLDER):
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "dvc.lock").unlink(missing_ok=True)


def ours(root: Path) -> dict:
    forget(root)
    run(root, COMMANDS["fingerprint"])  # it reads the code for all stages, before any of them runs
    wall = {name: round(run(root, COMMANDS[name]), 2) for name in STAGES}
    entries = map(json.loads, (root / LOG_FILE).read_text().splitlines())
    inside = {entry["stage"]: entry["seconds"] for entry in entries if entry["stage"] in STAGES}
    packed = json.loads((root / "reports/pack.json").read_text())
    forget(root)
    return {
        "name": "privllm",
        "seconds": round(sum(inside.values()), 2),
        "wall": round(sum(wall.values()), 2),
        "text seconds": round(sum(inside[name] for name in TEXT_STAGES), 2),
        "text wall": round(run(root, "dvc repro -q dedup"), 2),
        "stages": inside,
        "tokens": sum(packed["tokens"].values()),
    }


def peer(html: Path, root: Path) -> dict:
    texts = root / "peer"
    shutil.rmtree(texts, ignore_errors=True)
    start = time.perf_counter()
    cleaned = said([peers_python(), "benchmarks/peer_datatrove.py", html, texts])
    text_wall = time.perf_counter() - start
    tokenized = said([sys.executable, "benchmarks/peer_tokenize.py", texts, root / "data/tokenizer/tokenizer.json"])
    return {
        "name": "datatrove + datasets.map",
        "seconds": round(cleaned["seconds"] + tokenized["seconds"], 2),
        "wall": round(time.perf_counter() - start, 2),
        "text seconds": cleaned["seconds"],
        "text wall": round(text_wall, 2),
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
    for clock, note in CLOCKS.items():
        a, b = (statistics.median(pair[i][clock] for pair in rounds) for i in (0, 1))
        print(f"  {note}")
        print(f"    privllm                   {a:7.2f} s  {megabytes / a:6.2f} MB/s")
        print(f"    datatrove + datasets.map  {b:7.2f} s  {megabytes / b:6.2f} MB/s")
        print(f"    ratio                     {b / a:7.2f}x  (asked: 8)")
        found[clock] = {"ours_s": a, "peer_s": b, "ratio": round(b / a, 2)}
    write_result("data_path", {"html_mb": round(megabytes, 1), **found, "rounds": rounds})


if __name__ == "__main__":
    main()
