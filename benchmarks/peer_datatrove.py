"""Peer: datatrove's own blocks and defaults, two workers: raw HTML to clean, deduplicated text.

Usage: peer_datatrove.py FOLDER_OF_HTML OUT. Prints one JSON line; OUT receives one .txt per surviving document.
The clock starts when the pages lie in datatrove's own input format and its imports are done, which favours the peer.
Runs in an environment of its own: `PEERS` in benchmarks/common.py.
"""

import gzip
import json
import sys
import tempfile
import time
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

WORKERS = 2


def stage(work: Path, name: str, steps: list, tasks: int) -> None:
    # Workers are forked, which is the fastest of its ways to start them.
    logs = str(work / "log" / name)
    LocalPipelineExecutor(steps, tasks=tasks, workers=WORKERS, logging_dir=logs, start_method="fork").run()


def write_input(pages: list[str], folder: Path) -> None:
    folder.mkdir()
    for worker in range(WORKERS):
        with gzip.open(folder / f"{worker:05d}.jsonl.gz", "wt", compresslevel=1) as file:
            for number, page in enumerate(pages[worker::WORKERS]):
                file.write(json.dumps({"text": page, "id": f"{worker}/{number}"}) + "\n")


def main(folder: str, out: str) -> None:
    pages = [path.read_text("utf-8", "replace") for path in sorted(Path(folder).rglob("*.html"))]
    megabytes = sum(len(page.encode()) for page in pages) / 1e6
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        write_input(pages, work / "in")
        config = MinhashConfig()
        paths = {name: str(work / name) for name in ("in", "clean", "sig", "buckets", "remove", "out")}
        start = time.perf_counter()
        filters = [GopherRepetitionFilter(), GopherQualityFilter(), PIIFormatter()]
        stage(
            work,
            "clean",
            [JsonlReader(paths["in"]), Trafilatura(timeout=10), *filters, JsonlWriter(paths["clean"])],
            WORKERS,
        )
        stage(work, "sig", [JsonlReader(paths["clean"]), MinhashDedupSignature(paths["sig"], config=config)], WORKERS)
        stage(work, "buckets", [MinhashDedupBuckets(paths["sig"], paths["buckets"], config=config)], config.num_buckets)
        stage(work, "cluster", [MinhashDedupCluster(paths["buckets"], paths["remove"], config=config)], 1)
        stage(
            work,
            "filter",
            [JsonlReader(paths["clean"]), MinhashDedupFilter(paths["remove"]), JsonlWriter(paths["out"])],
            WORKERS,
        )
        seconds = time.perf_counter() - start
        texts = [
            json.loads(line)["text"]
            for file in sorted((work / "out").glob("*.gz"))
            for line in gzip.decompress(file.read_bytes()).splitlines()
        ]
    Path(out).mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(texts):
        (Path(out) / f"{number:06d}.txt").write_text(text, "utf-8")
    print(
        json.dumps(
            {
                "name": "datatrove",
                "pages": len(pages),
                "html_mb": round(megabytes, 1),
                "kept": len(texts),
                "seconds": round(seconds, 2),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:3])
