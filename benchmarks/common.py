"""What the benchmarks share: where results go, the peers' environment, and real HTML to run on."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "out"
PEERS = [
    "datatrove==0.10.1",
    "tokenizers",
    "trafilatura==2.3.1",
    "lxml_html_clean==0.4.6",
    "xxhash<3.6",
    "fasttext-predict",
]
PEERS += ["spacy==3.8.18", "orjson", "nltk"]
PEER_LIMIT = 900.0  # seconds; datatrove waits for ever on a worker that died


def write_result(name: str, value: dict[str, Any]) -> None:
    """`benchmarks/out/<name>.json`, which `benchmarks.run` gathers."""
    OUT.mkdir(exist_ok=True)
    (OUT / f"{name}.json").write_text(json.dumps(value, indent=2) + "\n", "utf-8")


def peers_python() -> Path:
    """The interpreter of the peers' own environment, made on first use."""
    folder = OUT / "peers"
    python = folder / "bin/python"
    ready = folder / "ready"
    if not ready.exists() or ready.read_text() != "\n".join(PEERS):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True, stderr=subprocess.DEVNULL)
        ready.write_text("\n".join(PEERS))
    return python


def sqlite_doc() -> Path:
    """The HTML of Debian's sqlite3-doc, fetched once by apt; raises SystemExit with what to do where there is no apt."""
    folder = OUT / "sqlite3-doc"
    if not folder.exists():
        if not shutil.which("apt-get"):
            raise SystemExit("no apt-get here: name a folder of HTML pages with --html (data/sources holds the demo's)")
        OUT.mkdir(exist_ok=True)
        subprocess.run(["apt-get", "download", "sqlite3-doc"], cwd=OUT, check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["dpkg", "-x", next(OUT.glob("sqlite3-doc*.deb")), folder], check=True)
    return folder


def said(command: list, limit: float = PEER_LIMIT) -> dict:
    """Run a script for at most `limit` seconds and return the JSON of its last line; its stderr goes to `benchmarks/out/peer.log`."""
    words = [str(word) for word in command]
    OUT.mkdir(exist_ok=True)
    with (OUT / "peer.log").open("wb") as log:
        try:
            done = subprocess.run(
                words, cwd=ROOT, check=True, stdout=subprocess.PIPE, stderr=log, text=True, timeout=limit
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise SystemExit(f"{words[1]} failed ({error}); benchmarks/out/peer.log says why") from None
    return json.loads(done.stdout.strip().splitlines()[-1])
