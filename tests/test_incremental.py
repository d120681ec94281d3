"""The law of the build inside a stage: what an incremental build writes is, byte for byte, what a build from nothing writes.

Random sequences of edits, of documents and of code, run through the data stages' functions in this process; a few run through
`dvc repro`, one of them with `kill -9` in the middle. PRIVLLM_NIGHTLY=1 runs ten times as many.
"""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privllm.clean import recipe as cleaning
from privllm.clean.recipe import Clean, CleanConfig, clean
from privllm.collect import recipe as collecting
from privllm.collect.documents import CollectedDocument
from privllm.collect.readers import jsonl, text
from privllm.collect.recipe import CollectConfig, collect
from privllm.core import records
from privllm.core.errors import UserError
from privllm.core.split import SplitConfig
from privllm.dedup import recipe as deduplicating
from privllm.dedup.copied_runs import find_copied_runs
from privllm.dedup.recipe import DedupConfig, dedup
from privllm.engine.cache import Cache
from privllm.engine.digests import TICK_NS, Digests
from privllm.engine.fingerprint import closure
from privllm.engine.store import NO_STORE, Store
from privllm.tokens import pack as packing
from privllm.tokens import vocabulary
from privllm.tokens import vocabulary_sample as sampling
from privllm.tokens.copied_tokens import write_copied_tokens
from privllm.tokens.pack import PackConfig, pack
from privllm.tokens.vocabulary import TokenizerConfig, learn_tokenizer
from privllm.tokens.vocabulary_sample import SampleConfig, write_sample
from privllm.validate import statistics
from privllm.validate.describe import describe_shard
from tests.workshop import ROOT, Workshop, environment, make_workshop, outputs

pytestmark = pytest.mark.slow

NIGHTLY = os.environ.get("PRIVLLM_NIGHTLY") == "1"
SPLIT = SplitConfig(validation=0.2, test=0.2)
DATA = ("collect", "clean", "dedup", "tokenizer", "pack")
STAGES = ("fingerprint", *DATA, "start")
WORDS = "the of and to in river house winter table number garden paper answer letter kitchen morning window corner silver engine".split()


def prose(seed: int, words: int = 120) -> str:
    """Sentences that pass the quality rules, different for every seed."""
    chance = random.Random(seed)
    return " ".join(
        "The " + " ".join(chance.choices(WORDS, k=11)) + f" have been with {chance.randrange(10**6)}."
        for _ in range(words // 12)
    )


StoreOf = Callable[[str], Store]  # the store of a stage


def build(sources: Path, out: Path, store: StoreOf) -> dict[str, Any]:
    """collect to pack; the reports."""
    shutil.rmtree(out, ignore_errors=True)
    reports = {"collect": collect(CollectConfig(shard_bits=2), sources, out / "collect", store("collect"))}
    reports["clean"] = clean(CleanConfig(), out / "collect", out / "clean", store("clean"))
    reports["dedup"] = dedup(DedupConfig(), SPLIT, out / "clean", out / "dedup", store("dedup"))
    shards = sorted((out / "dedup").glob("*.parquet"))
    reports["dedup"]["held_out"] = find_copied_runs(out / "dedup", out / "dedup/copied", store("dedup"))
    describing = [(shard, out / "dedup/copied" / shard.name) for shard in shards]
    described = store("validate").map(describe_shard, describing, out / "validate", "validate")
    reports["validate"] = {"shards": described}
    write_sample(SampleConfig(megabytes=0.01), out / "dedup", out / "dedup/sample", store("dedup"))
    reports["tokenizer"] = learn_tokenizer(
        TokenizerConfig(vocabulary=320), out / "dedup/sample", out / "tokenizer", store("tokenizer")
    )
    reports["pack"] = pack(PackConfig(32), out / "dedup", out / "tokenizer", out / "pack", store("pack"))
    write_copied_tokens(out / "dedup", out / "tokenizer", out / "pack/copied", store("pack"))
    return reports


def build_or_error(sources: Path, out: Path, store: StoreOf) -> dict[str, Any] | str:
    """The reports, or what is told of a corpus that by chance cannot be built, such as one without a held-out document."""
    try:
        return build(sources, out, store)
    except UserError as error:
        return str(error).replace(str(out), "out")


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def edit(sources: Path, kind: str, seed: int) -> None:
    chance = random.Random(seed)
    present = sorted(path for path in sources.rglob("*") if path.is_file())
    target = chance.choice(present)
    text = prose(seed)
    if kind == "add":
        (sources / f"new{seed}.txt").write_text(text)
    elif kind == "edit":
        target.write_text(json.dumps({"text": text}) + "\n" if target.suffix == ".jsonl" else text)
    elif kind == "lines":
        lines = [json.dumps({"text": prose(seed + i)}) for i in range(chance.randrange(1, 6))]
        (sources / "many.jsonl").write_text("\n".join([*lines, "{broken"]))
    elif kind == "remove" and len(present) > 12:
        target.unlink()
    elif kind == "rename":
        (sources / f"folder{seed % 3}").mkdir(exist_ok=True)
        target.rename(sources / f"folder{seed % 3}" / f"{seed}{target.suffix}")
    elif kind == "touch":
        target.touch()
    elif kind == "duplicate":
        shutil.copyfile(target, sources / f"copy{seed}{target.suffix}")
    elif kind == "personal":
        target.write_text(text + f" Write to person{seed}@example.com.")
    elif kind == "spoil":
        target.write_bytes(bytes(60))


EDITS = st.lists(
    st.tuples(
        st.sampled_from(("add", "edit", "lines", "remove", "rename", "touch", "duplicate", "personal", "spoil")),
        st.integers(0, 10**6),
    ),
    min_size=1,
    max_size=6,
)


def other_words(made: Any, *_: Any) -> Any:
    """A document, or what cleaning made of one, with other words in its text."""
    if not isinstance(made, CollectedDocument | Clean):
        return made
    text = made.text.replace("river", "stream").replace("winter", "summer")
    return made._replace(text=text) if isinstance(made, CollectedDocument) else dataclasses.replace(made, text=text)


def stricter(fault: tuple[str, str] | None, text: str) -> tuple[str, str] | None:
    return fault or (("short", "by a new rule") if text.count("corner") < 8 else None)


# One function of each data stage as if its code had been edited: its module, its name, and what becomes of its result.
CODE_EDITS: dict[str, tuple[ModuleType, str, Callable[..., Any]]] = {
    "collect lines": (jsonl, "_document", other_words),
    "collect files": (text, "read_one", other_words),
    "clean text": (cleaning, "_judged", other_words),
    "clean quality": (cleaning, "garbage_of", stricter),
    "dedup exact": (deduplicating, "normalised_digest", lambda name, _: name[:1] * 32),
    "dedup near": (deduplicating, "jaccard", lambda similarity, *_: 1 - similarity),
    "dedup estimates": (deduplicating, "similarity", lambda estimates, *_: estimates * 0),
    "dedup sample": (sampling, "unit_interval", lambda place, *_: 1 - place),
    "validate": (statistics, "unique_words", lambda share, _: share / 2),
    "tokenizer": (vocabulary, "sample_texts", lambda texts, _: texts[::2]),
    "pack": (packing, "pack_rows", lambda rows, *_: rows._replace(first_rows=rows.first_rows[::-1].copy())),
}


def stores_after(edited: Collection[str], cache: Cache, digests: Path) -> StoreOf:
    """The store of each stage, keyed by what those edits do to its fingerprint: only those of modules that it can import count."""

    def store_of(stage: str) -> Store:
        reached = closure(ROOT, f"stages.{stage}")[0]
        code = sorted(name for name in edited if CODE_EDITS[name][0].__name__ in reached)
        return Store(cache, " ".join(["code", *code]), Digests(digests))

    return store_of


def edit_code(patch: pytest.MonkeyPatch, name: str) -> None:
    module, function, change = CODE_EDITS[name]
    original = getattr(module, function)
    patch.setattr(module, function, lambda *args: change(original(*args), *args))


class Bench:
    """A folder of sources, built over and over with one cache."""

    def __init__(self, root: Path) -> None:
        self.root, self.sources = root, root / "sources"
        self.cache = Cache(root / "cache", ("copy",))
        self.sources.mkdir()
        for seed in range(24):
            (self.sources / f"{seed}.txt").write_text(prose(seed))
        sentences = prose(0).split(". ")
        # So near that its words decide.
        (self.sources / "alike.txt").write_text(". ".join([*sentences[:-1], prose(99).split(". ")[0]]))
        (self.sources / "same.txt").write_text(prose(1).replace("The", "the", 1))
        edit(self.sources, "lines", 1)

    def compare(self, code: Collection[str] = ()) -> None:
        """Build with these edits of code, incrementally and from nothing: equal reports and equal bytes."""
        time.sleep(2 * TICK_NS / 1e9)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(collecting, "SOURCES_INDEX", self.root / "sources.arrow")
            patch.setattr(records, "LINES", 2)  # so that a file of a few lines lies in several shards
            for name in sorted(code):
                edit_code(patch, name)
            stores = stores_after(code, self.cache, self.root / "digests.json")
            reports = build_or_error(self.sources, self.root / "out", stores)
            assert reports == build_or_error(self.sources, self.root / "clean", lambda _: NO_STORE)
        assert files(self.root / "out") == files(self.root / "clean")


@settings(
    max_examples=100 if NIGHTLY else 10, deadline=None, derandomize=not NIGHTLY, suppress_health_check=list(HealthCheck)
)
@given(
    steps=st.lists(st.tuples(EDITS, st.sets(st.sampled_from(sorted(CODE_EDITS)), max_size=3)), min_size=1, max_size=3)
)
def test_an_incremental_build_is_a_clean_build(steps: list[tuple[list[tuple[str, int]], set[str]]]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch))
        bench.compare()
        for edits, code in steps:
            for kind, seed in edits:
                edit(bench.sources, kind, seed)
            bench.compare(code)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    made = Bench(tmp_path_factory.mktemp("bench"))
    made.compare()
    return made


@pytest.mark.parametrize("name", CODE_EDITS)
def test_an_edit_of_code_alone_is_a_clean_build(bench: Bench, name: str) -> None:
    """And so is taking it back."""
    before = files(bench.root / "out")
    bench.compare([name])
    assert files(bench.root / "out") != before, "this edit of code changes nothing, so it tests nothing"
    bench.compare()
    assert files(bench.root / "out") == before


def data_outputs(shop: Workshop) -> dict[str, bytes]:
    stages = yaml.safe_load((shop.root / "dvc.yaml").read_text("utf-8"))["stages"]
    return {path: data for stage in DATA for path, data in outputs(shop.root, stages[stage]).items()}


def from_nothing(shop: Workshop, root: Path) -> Workshop:
    """The same sources, code and parameters in a repository without a cache, built."""
    other = make_workshop(root, STAGES)
    shutil.rmtree(root / "data/sources")
    shutil.copytree(shop.root / "data/sources", root / "data/sources")
    shutil.copytree(shop.root / "privllm", root / "privllm", dirs_exist_ok=True)
    other.run("dvc", "add", "-q", "data/sources")
    other.repro("pack")
    return other


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    made = make_workshop(tmp_path_factory.mktemp("shop") / "repo", STAGES)
    made.repro("pack")
    return made


def test_dvc_lock_and_outputs_are_those_of_a_clean_build(shop: Workshop, tmp_path: Path) -> None:
    chance = random.Random(3)
    for step in range(6 if NIGHTLY else 2):
        for kind in chance.sample(("add", "edit", "lines", "rename", "touch", "duplicate", "personal", "spoil"), 4):
            edit(shop.root / "data/sources", kind, chance.randrange(10**6))
        shop.edit(
            "privllm/collect/readers/jsonl.py", "digest(line.data), text", f'digest(line.data), text + " Edit {step}."'
        )
        shop.repro("pack")
        clean_shop = from_nothing(shop, tmp_path / str(step))
        assert data_outputs(shop) == data_outputs(clean_shop)
        assert (shop.root / "dvc.lock").read_bytes() == (clean_shop.root / "dvc.lock").read_bytes()


def test_killed_at_any_moment_the_next_build_ends_in_the_same_bytes(shop: Workshop, tmp_path: Path) -> None:
    chance = random.Random(5)
    for step in range(20 if NIGHTLY else 2):
        edit(shop.root / "data/sources", "add", 1000 + step)
        edit(shop.root / "data/sources", "edit", 2000 + step)
        command = subprocess.Popen(
            ["dvc", "repro", "pack"],
            cwd=shop.root,
            env=environment(),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
        )
        time.sleep(1 + 4 * chance.random())  # the build takes five seconds on a quiet core
        os.killpg(command.pid, signal.SIGKILL)
        command.wait()
        for lock in (shop.root / ".dvc/tmp").glob("*lock"):
            lock.unlink()  # a killed DVC leaves its lock behind, as its own error message says
        again = shop.run("dvc", "repro", "pack", check=False)
        if again.returncode:
            # DVC writes dvc.lock in place and was killed meanwhile: what the troubleshooting guide says of that.
            assert "dvc.lock' validation failed" in again.stderr or "unable to read: 'dvc.lock'" in again.stderr, (
                again.stderr
            )
            (shop.root / "dvc.lock").unlink()
            shop.repro("pack")
    clean_shop = from_nothing(shop, tmp_path / "clean")
    assert data_outputs(shop) == data_outputs(clean_shop)
