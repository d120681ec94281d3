"""What an edit costs: `dvc repro pack` after small changes against the clean build of the same data, in two layouts.

    python -m benchmarks.rebuild [--documents 100000] [--layout jsonl,files] [--passages FILE.jsonl] [--links hardlink,copy]

Every figure is the wall time of a `dvc` command, `dvc` included. `annotate` and training are not part of it; `validate` (Great
Expectations needs 5 s to be imported) is timed by itself. Passages: see `benchmarks.passages`.
"""

import argparse
import copy
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from benchmarks.common import OUT, ROOT, write_result
from benchmarks.passages import write_passages

FILES = 1000  # of the JSONL layout
EDITS = (1, 2, 3, 4, 5)  # an edit that happens to hit the tokenizer's sample (4 % of 200 MB) packs everything anew
FIRST = ("collect", "clean", "dedup", "start", "tokenizer", "pack")
ENV = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONDONTWRITEBYTECODE": "",
}


class Bench:
    """A repository of our code with passages as its sources."""

    def __init__(self, root: Path, layout: str, passages: list[str], shard_bits: int, links: str) -> None:
        self.root, self.layout, self.sources = root, layout, root / "data/sources"
        self.env = {key: value for key, value in ENV.items() if value}
        for name in ("privllm", "stages"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("dvc.yaml", "requirements.lock", ".dvcignore", ".gitignore"):
            shutil.copyfile(ROOT / name, root / name)
        text = (ROOT / "params.yaml").read_text()
        (root / "params.yaml").write_text(text.replace("  shard_bits: 4 ", f"  shard_bits: {shard_bits} "))
        assert f"shard_bits: {shard_bits} " in (root / "params.yaml").read_text()
        for name in ("base", "feedback", "promoted"):
            shutil.copytree(
                ROOT / "data" / name, root / "data" / name, ignore=shutil.ignore_patterns("incumbent*", "*.jsonl")
            )
        self.write(passages)
        self.init(links)

    def init(self, links: str) -> None:
        for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["dvc", "config", "core.analytics", "false"]):
            self.run(*command)
        self.run("dvc", "config", "cache.type", links)
        self.run("dvc", "add", "-q", "data/sources")

    def run(self, *command: str) -> float:
        start = time.perf_counter()
        done = subprocess.run(
            command, cwd=self.root, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}")
        return time.perf_counter() - start

    def write(self, passages: list[str]) -> None:
        self.sources.mkdir(parents=True)
        self.next = 0
        self.add(passages)

    def add(self, passages: list[str]) -> None:
        if self.layout == "jsonl":
            size = max(1, -(-len(passages) // FILES)) if not self.next else 100
            for start in range(0, len(passages), size):
                lines = "".join(json.dumps({"text": text}) + "\n" for text in passages[start : start + size])
                (self.sources / f"{self.next:06d}.jsonl").write_text(lines)
                self.next += 1
        else:
            for text in passages:
                folder = self.sources / f"{self.next // 1000:03d}"
                folder.mkdir(exist_ok=True)
                body = text.replace("&", "&amp;").replace("<", "&lt;")
                page = (
                    f"<html><head><title>{self.next}</title></head><body><main><pre>{body}</pre></main></body></html>"
                )
                (folder / f"{self.next:06d}.html").write_text(page)
                self.next += 1

    def edit_one_and_remove_one(self, seed: int) -> None:
        chance = random.Random(seed)
        if self.layout == "jsonl":
            one, other = chance.sample(sorted(self.sources.glob("*.jsonl")), 2)
            lines = one.read_text().splitlines(keepends=True)
            place = chance.randrange(len(lines))
            lines[place] = (
                json.dumps(
                    {"text": json.loads(lines[place])["text"] + f"\nEdited, edition {seed}, with a few more words.\n"}
                )
                + "\n"
            )
            replace(one, "".join(lines))
            replace(other, "".join(other.read_text().splitlines(keepends=True)[:-1]))
        else:
            one, other = chance.sample(sorted(self.sources.rglob("*.html")), 2)
            replace(one, one.read_text().replace("</pre>", f"\nEdited, edition {seed}, with a few more words.\n</pre>"))
            other.unlink()

    def keep_vocabulary(self) -> None:
        """As after a promotion, which keeps it."""
        self.run("privllm", "vocabulary", "keep")
        self.run("dvc", "repro", "pack")
        self.log()

    def toggle(self, old: str, new: str) -> None:
        text = (self.root / "params.yaml").read_text()
        assert old in text
        (self.root / "params.yaml").write_text(text.replace(old, new))

    def outputs(self) -> dict[str, str]:
        """MD5 of every output file, and of what dvc.lock says of each stage (it lists stages in the order of their first builds)."""
        lock = yaml.safe_load((self.root / "dvc.lock").read_text())["stages"]
        stages = {
            f"dvc.lock {name}": hashlib.md5(json.dumps(lock[name], sort_keys=True).encode()).hexdigest()
            for name in lock
        }
        names = [path for stage in FIRST for path in (self.root / "data" / stage).rglob("*") if path.is_file()]
        names += (self.root / "reports").glob("*.json")
        return stages | {
            str(path.relative_to(self.root)): hashlib.md5(path.read_bytes()).hexdigest() for path in sorted(names)
        }

    def log(self) -> list[dict]:
        path = self.root / ".privllm/log.jsonl"
        entries = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        path.unlink(missing_ok=True)
        return entries


def replace(path: Path, text: str) -> None:
    """As editors do, so that a hard link into DVC's cache is never written through."""
    new = path.with_name(".new")
    new.write_text(text)
    new.replace(path)


def become(folder: Path, other: Path) -> None:
    """Give `folder` the files of `other`, and touch none that is the same: DVC would read it again."""
    names = {path.relative_to(root) for root in (folder, other) for path in root.rglob("*") if path.is_file()}
    for name in names:
        if not (other / name).exists():
            (folder / name).unlink()
        elif not (folder / name).exists() or (folder / name).read_bytes() != (other / name).read_bytes():
            replace(folder / name, (other / name).read_text())


@contextmanager
def other_commands(bench: Bench, command: Callable[[str], str]) -> Iterator[None]:
    """The same stages, deps and outs, built by other commands; `dvc.lock` believes that they made what is there."""
    kept = (bench.root / "dvc.yaml").read_text(), (bench.root / "dvc.lock").read_text()
    pipeline, lock = yaml.safe_load(kept[0]), yaml.safe_load(kept[1])
    for stage in pipeline["stages"]:
        where = pipeline["stages"][stage]
        where.get("do", where)["cmd"] = command(stage)
        if stage in lock["stages"]:
            lock["stages"][stage]["cmd"] = command(stage)
    (bench.root / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    (bench.root / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    try:
        yield
    finally:
        (bench.root / "dvc.yaml").write_text(kept[0])
        (bench.root / "dvc.lock").write_text(kept[1])


def no_op_of_empty_commands(bench: Bench) -> float:
    """What DVC itself costs where nothing changed."""
    with other_commands(bench, lambda stage: "true"):
        return min(bench.run("dvc", "repro", "pack") for _ in range(2))


def edit_of_copying_commands(bench: Bench, seed: int) -> float:
    """What DVC itself costs an edit: the stages' commands only copy the outputs that the edit led to, made beforehand."""
    with tempfile.TemporaryDirectory(dir=OUT) as scratch:
        before, after = Path(scratch, "before"), Path(scratch, "after")
        shutil.copytree(bench.sources, before)
        bench.edit_one_and_remove_one(seed)
        bench.run("dvc", "repro", "pack")
        for name in ("data", "reports"):
            shutil.copytree(bench.root / name, after / name)
        become(bench.sources, before)
        bench.run("dvc", "repro", "pack")
        bench.log()
        pairs = {s: [(f"{after}/{path}", path) for path in (f"data/{s}", f"reports/{s}.json")] for s in FIRST}
        copies = {s: " && ".join(f"cp -a {made} {path}" for made, path in pairs[s]) for s in FIRST}
        with other_commands(bench, lambda stage: copies.get(stage, "true")):
            bench.run("dvc", "repro", "pack")
            become(bench.sources, after / "data/sources")
            seconds = bench.run("dvc", "repro", "pack")
        bench.run("dvc", "repro", "pack")
        bench.log()
    return seconds


def edit_of_the_least(bench: Bench, seed: int, links: str) -> float:
    """What DVC itself costs an edit where it tracks the same sources, and one stage that depends on them writes three bytes."""
    with tempfile.TemporaryDirectory(dir=OUT) as scratch:
        least = copy.copy(bench)
        least.root = Path(scratch)
        least.sources = least.root / "data/sources"
        shutil.copytree(bench.sources, least.sources)
        least.init(links)
        (least.root / "dvc.yaml").write_text(
            "stages: {all: {cmd: date +%S > out, deps: [data/sources], outs: [out]}}\n"
        )
        least.run("dvc", "repro")
        least.edit_one_and_remove_one(seed)
        return least.run("dvc", "repro")


def measure(layout: str, passages: list[str], root: Path, shard_bits: int, links: str) -> dict:
    bench = Bench(root, layout, passages, shard_bits, links)
    more = max(1, len(passages) // 102)
    bench.run("dvc", "repro", "fingerprint")
    found: dict = {"layout": layout, "documents": len(passages) - 2 * more, "links": links, "shards": 2**shard_bits}
    shutil.rmtree(bench.sources)
    bench.write(passages[: -2 * more])
    bench.log()
    print(f"{layout}: {found['documents']:,} documents", flush=True)

    def step(name: str, seconds: float) -> None:
        entries = bench.log()
        found[name] = {"seconds": round(seconds, 2), "stages": {e["stage"]: round(e["seconds"], 2) for e in entries}}
        found[name]["peak_mb"] = {e["stage"]: e["peak_mb"] for e in entries}
        print(f"  {name:28} {seconds:8.2f} s   {found[name]['stages']}", flush=True)

    step("clean build", bench.run("dvc", "repro", "pack"))
    step("no-op", min(bench.run("dvc", "repro", "pack") for _ in range(2)))
    step("no-op of empty commands", no_op_of_empty_commands(bench))
    for seed in EDITS:
        bench.edit_one_and_remove_one(seed)
        step(f"1 edited, 1 removed ({seed})", bench.run("dvc", "repro", "pack"))
    bench.add(passages[-2 * more : -more])
    step("1 % new", bench.run("dvc", "repro", "pack"))
    bench.toggle("languages: []", "languages: [en]")
    step("parameter changed", bench.run("dvc", "repro", "pack"))
    bench.toggle("languages: [en]", "languages: []")
    step("parameter toggled back", bench.run("dvc", "repro", "pack"))
    bench.keep_vocabulary()
    bench.add(passages[-more:])
    step("1 % new, vocabulary kept", bench.run("dvc", "repro", "pack"))
    step("validate by itself", bench.run("dvc", "repro", "validate"))
    incremental = bench.outputs()
    shutil.rmtree(root / ".dvc/cache")
    shutil.rmtree(root / ".privllm")
    for name in ("dvc.lock", *(f"data/{stage}" for stage in FIRST)):
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    bench.run("dvc", "commit", "-f", "data/sources.dvc")
    step("the same from nothing", bench.run("dvc", "repro", "pack", "validate"))
    clean = bench.outputs()
    found["differing outputs"] = sorted(
        name for name in incremental.keys() | clean.keys() if incremental.get(name) != clean.get(name)
    )
    step("an edit, commands only copy", edit_of_copying_commands(bench, len(EDITS) + 1))
    step("an edit, one empty stage", edit_of_the_least(bench, len(EDITS) + 2, links))
    return found


def bound(found: dict) -> list[tuple[str, str, float, bool]]:
    """(case, asked, seen, held) for the table."""
    clean = found["clean build"]["seconds"]
    edits = sorted(found[f"1 edited, 1 removed ({seed})"]["seconds"] for seed in EDITS)
    limit = 30 if found["layout"] == "jsonl" else 15
    rate, edit = found["documents"] / clean, clean / edits[len(edits) // 2]
    new, kept = (clean / found[case]["seconds"] for case in ("1 % new", "1 % new, vocabulary kept"))
    floor, least = (clean / found[f"an edit, {what}"]["seconds"] for what in ("commands only copy", "one empty stage"))
    no_op = found["no-op"]["seconds"] / found["no-op of empty commands"]["seconds"]
    back = found["parameter toggled back"]["seconds"] / found["no-op"]["seconds"]
    return [
        ("clean build, documents/s", ">= 500", rate, rate >= 500),
        ("1 edited and 1 removed, clean/this", f">= {limit}", edit, edit >= limit),
        ("the same of commands that only copy", "", floor, True),
        ("the same of one empty stage", "", least, True),
        ("1 % new, clean/this", ">= 12", new, new >= 12),
        ("the same, vocabulary kept", "", kept, True),
        ("no-op / empty commands", "<= 2", no_op, no_op <= 2),
        ("toggled back / no-op", "<= 3", back, back <= 3),
        ("outputs that differ from clean", "0", len(found["differing outputs"]), not found["differing outputs"]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--layout", default="jsonl,files")
    parser.add_argument("--passages", type=Path, default=None)
    parser.add_argument("--shard-bits", type=int, default=7)
    parser.add_argument("--links", default="reflink,copy", help="DVC's cache.type")
    args = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    wanted = args.documents + 2 * max(1, args.documents // 100)
    file = args.passages or OUT / f"passages-{wanted}.jsonl"
    if not file.exists():
        print(f"cutting {wanted} passages ...", flush=True)
        write_passages(wanted, file)
    with file.open() as lines:
        passages = [json.loads(line)["text"] for line, _ in zip(lines, range(wanted), strict=False)]
    if len(passages) < wanted:
        raise SystemExit(
            f"{file} holds {len(passages):,} passages, and {wanted:,} are needed: delete it to have it cut again, "
            f"or take --documents {len(passages) * 100 // 102:,}"
        )
    results = []
    for layout in args.layout.split(","):
        with tempfile.TemporaryDirectory(dir=OUT) as scratch:
            results.append(measure(layout, passages, Path(scratch), args.shard_bits, args.links))
        print(f"  {'case':38} {'asked':>8} {'seen':>9}")
        for case, asked, seen, held in bound(results[-1]):
            print(f"  {case:38} {asked:>8} {seen:9.2f}  {'' if held else 'MISSED'}")
        print(
            f"  peak memory of one process of a stage, clean build, MB: {results[-1]['clean build']['peak_mb']}",
            flush=True,
        )
    write_result("rebuild", {"results": results})


if __name__ == "__main__":
    main()
