"""Training on small private corpora, ours against the peers at their best honest settings: one table, JSON in benchmarks/results/.

    python -m benchmarks.small_data SHAKESPEARE.txt [--html FOLDER] [--sizes 0.1 1 6] [--seeds 0 1 2] [--seconds 240]

Text: Tiny Shakespeare (its first 100 kB as 0.1, all of it as 1) and, as 6, what our own cleaning leaves of Debian's sqlite3-doc.
For all arms the same training, validation and held-out text, tokenizer (learnt on the training text), shape (6 layers of 256, context
256, batch 4), threads and seconds.

ours       the shipped parameters of `pretrain.causal`, and what `privllm params --suggest` sets against learning by heart in so many
           epochs; validation, logging and checkpoints on the clock. The number of steps comes from a short probe of speed, as a person
           would set it, and is corrected once by the speed so far
peers      HF `Trainer` (fused AdamW, cosine that ends with the seconds) and a nanoGPT-style script, each at the best of three learning
           rates, the latter eager or compiled, all chosen once by validation text. The clock stops while they validate, and the best
           weights are kept

1 and 6 are trained for `--seconds`; 0.1 and 1 also for many epochs, where who stops at the best weights wins. Then ours has a half and a
third of the seconds. Each run that ends is a line of `benchmarks/out/small_data.jsonl` and is not run again: an interrupted benchmark goes
on. A line is of the code and the settings that made it; `--fresh` forgets all. At its defaults it takes about two and a half hours.
"""

import argparse
import datetime
import hashlib
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from benchmarks.common import OUT, ROOT, said, sqlite_doc
from benchmarks.data_path import prepare
from benchmarks.peer_corpus import PARTS, split_lines
from privllm.tokens.vocabulary import TokenizerConfig, train

LINES = OUT / "small_data.jsonl"
RESULTS = ROOT / "benchmarks" / "results"
RATES = (5e-4, 1e-3, 2e-3)  # of the peers
RATE_SHARE = 1 / 3  # of the seconds, for each run that only chooses a rate
MANY_EPOCHS = {"0.1": 0.5, "1": 1.5}  # of the seconds: some thirty epochs of 0.1 MB, some five of 1 MB
SHORTER = (0.5, 1 / 3)  # of the seconds, for ours
PEERS = {
    "hf_trainer": ("peer_hf_trainer.py", ()),
    "nanogpt": ("peer_nanogpt.py", ()),
    "nanogpt_compiled": ("peer_nanogpt.py", ("compiled",)),
}
OURS = "ours"


class Run(NamedTuple):
    """What decides a run; its result is kept under it."""

    arm: str
    size: str
    seed: int
    seconds: float
    rate: float | None = None  # of a peer


class Bench:
    """Runs, each made once."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self.folders = folders
        self.done: dict[str, dict[str, Any]] = {}
        if LINES.exists():
            for line in LINES.read_text("utf-8").splitlines():
                entry = json.loads(line)
                self.done[entry["key"]] = entry["result"]

    def result(self, run: Run) -> dict[str, Any]:
        key = json.dumps([*run, code_of(run.arm), content_of(self.folders[run.size])])
        if key not in self.done:
            result = said([sys.executable, *self._command(run)], limit=10 * run.seconds + 900)
            self.done[key] = result
            with LINES.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "result": result}) + "\n")
            print(
                f"  {run.size:>4} MB  seed {run.seed}  {run.seconds:4.0f} s  {_name(run):24}  {result['bpb']:.4f}",
                flush=True,
            )
        return self.done[key]

    def _command(self, run: Run) -> list[Any]:
        folder = self.folders[run.size]
        if run.arm == OURS:
            return ["benchmarks/train_ours.py", folder, run.seed, run.seconds]
        script, words = PEERS[run.arm]
        return [f"benchmarks/{script}", folder, run.seed, run.seconds, run.rate, *words]


def _name(run: Run) -> str:
    return run.arm if run.rate is None else f"{run.arm} at {run.rate}"


def texts_of(shakespeare: Path, html: Path | None, sizes: list[str]) -> dict[str, str]:
    """Return the text of each size."""
    plays = shakespeare.read_text("utf-8")
    texts = {"0.1": plays[: plays.index("\n", 100_000) + 1], "1": plays}
    if "6" in sizes:
        kept = OUT / "sqlite3-doc.txt"
        if not kept.exists():
            kept.write_text(_cleaned((html or sqlite_doc()).resolve()), "utf-8")
        texts["6"] = kept.read_text("utf-8")
    return {size: texts[size] for size in sizes}


def _cleaned(html: Path) -> str:
    """Return what our stages leave of a folder of pages, page after page."""
    with tempfile.TemporaryDirectory(dir=OUT) as scratch:
        prepare(html, Path(scratch))
        shards = sorted((Path(scratch) / "data/dedup").glob("*.parquet"))
        texts = [text for shard in shards for text in pq.read_table(shard, columns=["text"])["text"].to_pylist()]
    return "\n".join(texts)


def lay_out(text: str, folder: Path) -> None:
    """Write the three parts, and the tokenizer learnt on the first."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = split_lines(text)
    for part, content in parts.items():
        (folder / f"{part}.txt").write_text(content, "utf-8")
    tokenizer = folder / "tokenizer.json"
    learnt_on = folder / "tokenizer.of"
    name = hashlib.sha256(parts["train"].encode()).hexdigest()
    if not tokenizer.exists() or not learnt_on.exists() or learnt_on.read_text() != name:
        tokenizer.write_text(train(TokenizerConfig(), [parts["train"]]), "utf-8")
        learnt_on.write_text(name)


@cache
def content_of(folder: Path) -> str:
    """Return a digest of the text and the tokenizer in a folder: our cleaning and our tokenizer may have made others since."""
    return digest_of_files([folder / f"{part}.txt" for part in PARTS] + [folder / "tokenizer.json"])


@cache
def code_of(arm: str) -> str:
    """Return a digest of what trains an arm, so that a line of older code is not taken for this one's."""
    script = "train_ours.py" if arm == OURS else PEERS[arm][0]
    files = [ROOT / "benchmarks" / name for name in (script, "peer_corpus.py")]
    if arm == OURS:
        for name in ("core", "models", "parameters", "tokens", "train"):
            files += sorted((ROOT / "privllm" / name).rglob("*.py"))
    return digest_of_files(files)


def digest_of_files(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def rates_of(bench: Bench, size: str, seconds: float) -> dict[str, float]:
    """Return the rate of each peer with the lowest validation figure at one size and seed; compiled nanoGPT has the eager one's."""
    rates = {}
    for peer in ("hf_trainer", "nanogpt"):
        tried = {rate: bench.result(Run(peer, size, 0, seconds, rate))["validation_bpb"] for rate in RATES}
        rates[peer] = min(tried, key=lambda rate: tried[rate])
    return rates | {"nanogpt_compiled": rates["nanogpt"]}


def better_nanogpt(bench: Bench, size: str, seconds: float, rates: dict[str, float]) -> str:
    """Return whether nanoGPT is better eager or compiled, by validation text at one size and seed."""
    found = {
        name: bench.result(Run(name, size, 0, seconds, rates[name]))["validation_bpb"]
        for name in ("nanogpt", "nanogpt_compiled")
    }
    return min(found, key=lambda name: found[name])


def compare(bench: Bench, size: str, seeds: list[int], seconds: float, rates: dict[str, float]) -> dict[str, Any]:
    """Run ours and the peers that have a rate in turn, seed by seed, and return medians and ratios."""
    runs: dict[str, list[dict[str, Any]]] = {arm: [] for arm in (OURS, *rates)}
    for seed in seeds:
        for arm, results in runs.items():
            results.append(bench.result(Run(arm, size, seed, seconds, rates.get(arm))))
    bpb = {arm: statistics.median(run["bpb"] for run in of) for arm, of in runs.items()}
    speed = {arm: statistics.median(run["tokens_per_s"] for run in of) for arm, of in runs.items()}
    better = min((arm for arm in runs if arm != OURS), key=lambda arm: bpb[arm])
    return {
        "size": size,
        "seconds": seconds,
        "bpb": bpb,
        "tokens_per_s": speed,
        "better_peer": better,
        "ours_over_better_peer": round(bpb[OURS] / bpb[better], 4),
        "speed_over_hf_trainer": round(speed[OURS] / speed["hf_trainer"], 3),
        "epochs": {arm: statistics.median(run["epochs"] for run in of) for arm, of in runs.items()},
        "shares": {
            purpose: statistics.median(run["shares"].get(purpose, 0.0) for run in runs[OURS])
            for purpose in ("validation", "logging", "checkpoints")
        },
        "runs": runs,
    }


def share_of_seconds(bench: Bench, compared: dict[str, Any], seed: int) -> float | None:
    """Return the smallest share of the seconds in which ours is as good as the better peer at the end; None: not in all of them."""
    goal = compared["bpb"][compared["better_peer"]]
    reached = 1.0 if compared["bpb"][OURS] <= goal else None
    for share in SHORTER:
        run = bench.result(Run(OURS, compared["size"], seed, round(compared["seconds"] * share, 1)))
        if run["bpb"] <= goal:
            reached = round(run["seconds"] / compared["seconds"], 3)
    return reached


def machine() -> dict[str, Any]:
    """Return the commit, the processor, the day and the versions that the figures are of."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "commit": commit,
        "cpu": models[0] if models else platform.processor(),
        "cores": len(models),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
    }


def table(timed: list[dict[str, Any]], many: list[dict[str, Any]], step: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return rows of (measure, must, seen)."""
    rows = []
    for one in timed:
        at = f"{one['size']} MB, {one['seconds']:.0f} s"
        shares = one["shares"]
        rows += [
            (f"{at}: held-out bits per byte, ours / better peer", "<= 0.93", _ratio(one)),
            (f"{at}: tokens/s, ours / HF Trainer", ">= 0.95", f"{one['speed_over_hf_trainer']:.2f} ({_speeds(one)})"),
            (f"{at}: share of the seconds to the better peer's figure", "<= 0.50", str(one["share_of_seconds"])),
            (f"{at}: share of time of validation", "<= 0.03", f"{shares['validation']:.3f}"),
            (
                f"{at}: share of time of logging and checkpoints",
                "<= 0.03",
                f"{shares['logging'] + shares['checkpoints']:.3f}",
            ),
        ]
    for one in many:
        at = f"{one['size']} MB, {one['epochs'][OURS]:.0f} epochs"
        rows.append((f"{at}: best held-out bits per byte, ours / better peer", "<= 0.95", _ratio(one)))
    rows.append(("forward + backward FLOP/s over sgemm", ">= 0.65", f"{step['flops_over_sgemm']['ours']:.2f}"))
    return rows


def _ratio(one: dict[str, Any]) -> str:
    figures = ", ".join(f"{arm} {bpb:.4f}" for arm, bpb in one["bpb"].items())
    return f"{one['ours_over_better_peer']:.3f} ({figures})"


def _speeds(one: dict[str, Any]) -> str:
    return ", ".join(f"{arm} {speed:.0f}" for arm, speed in one["tokens_per_s"].items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shakespeare", type=Path, help="Tiny Shakespeare, one UTF-8 file")
    parser.add_argument("--html", type=Path, help="pages for size 6; by default Debian's sqlite3-doc, fetched by apt")
    parser.add_argument("--sizes", nargs="+", choices=["0.1", "1", "6"], default=["0.1", "1", "6"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--fresh", action="store_true", help="forget the runs of before")
    args = parser.parse_args()
    if not args.shakespeare.is_file():
        raise SystemExit(f"{args.shakespeare} is no file: name Tiny Shakespeare's text (input.txt of nanoGPT's data)")
    OUT.mkdir(exist_ok=True)
    if args.fresh:
        LINES.unlink(missing_ok=True)
    folders = {size: OUT / "small_data" / size for size in args.sizes}
    for size, text in texts_of(args.shakespeare, args.html, args.sizes).items():
        lay_out(text, folders[size])
    bench = Bench(folders)
    step = said([sys.executable, "-m", "benchmarks.step"])
    chosen_at = "1" if "1" in args.sizes else args.sizes[0]
    rates = rates_of(bench, chosen_at, round(args.seconds * RATE_SHARE, 1))
    nanogpt = better_nanogpt(bench, chosen_at, args.seconds, rates)
    rates = {peer: rates[peer] for peer in ("hf_trainer", nanogpt)}
    timed, many = [], []
    for size in args.sizes:
        if size != "0.1":
            one = compare(bench, size, args.seeds, args.seconds, rates)
            timed.append(one | {"share_of_seconds": share_of_seconds(bench, one, args.seeds[0])})
        if size in MANY_EPOCHS:
            seeds = args.seeds if size == "0.1" else args.seeds[:1]
            many.append(compare(bench, size, seeds, round(args.seconds * MANY_EPOCHS[size], 1), rates))
    rows = table(timed, many, step)
    print("| measure | must | seen |\n|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    about = machine()
    facts = {**about, "seconds": args.seconds, "seeds": args.seeds, "rates": rates, "step": step}
    facts |= {"table": rows, "timed": timed, "many_epochs": many}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"small_data-{about['date']}-{about['commit'][:8]}.json"
    path.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
