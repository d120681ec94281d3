"""Pretraining for 240 s on the text of Debian's sqlite3-doc: ours against two peers, in turn, medians of held-out bits per byte.

    python -m benchmarks.pretraining [--html FOLDER] [--rounds 1]

Same text, tokenizer, shape (6 layers of 256, context 256, batch 4), seconds and held-out tenth for all three; compiling is on the clock.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.common import OUT, said, sqlite_doc, write_result
from benchmarks.data_path import prepare

NAMES = ("train_ours", "peer_hf_trainer", "peer_nanogpt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--html", type=Path, default=None)
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=OUT) as scratch:
        root = Path(scratch)
        prepare((args.html or sqlite_doc()).resolve(), root)
        shards = sorted((root / "data/dedup").glob("*.parquet"))
        texts = [text for shard in shards for text in pq.read_table(shard, columns=["text"])["text"].to_pylist()]
        (root / "text.txt").write_text("\n".join(texts), "utf-8")
        files = [root / "text.txt", root / "data/tokenizer/tokenizer.json"]
        results: dict[str, list[dict]] = {name: [] for name in NAMES}
        for seed in range(args.rounds):
            for name in NAMES:
                results[name].append(said([sys.executable, f"benchmarks/{name}.py", *files, seed]))
                print(f"  {name:16}  seed {seed}  {results[name][-1]['bpb']:.4f} bits per byte", flush=True)
    medians = {name: statistics.median(run["bpb"] for run in runs) for name, runs in results.items()}
    better_peer = min(medians[name] for name in NAMES[1:])
    print(f"held-out bits per byte after 240 s, median of {args.rounds}")
    for name in NAMES:
        print(
            f"  {name:16}  {medians[name]:.4f}  {statistics.median(run['tokens_per_s'] for run in results[name]):7.0f} tokens/s"
        )
    print(f"  ours / better peer  {medians[NAMES[0]] / better_peer:.3f}  (must be <= 1)")
    write_result(
        "pretraining",
        {"medians": medians, "ours_over_better_peer": round(medians[NAMES[0]] / better_peer, 4), "runs": results},
    )


if __name__ == "__main__":
    main()
