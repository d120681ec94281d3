"""The promises that each file in stages/ must keep by itself, since no library function can keep them for it.

Every stage runs as dvc.yaml says, in a small repository with our core and stand-ins for the rest of the library.
"""

import json
import os
import signal
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.engine.cache import Cache
from privllm.engine.digests import md5_of
from privllm.engine.fingerprint import FOLDER
from privllm.engine.pipeline import declared_stages, outputs_of
from privllm.engine.stage import require_verdict
from tests.stand_ins import VERDICT, WHOLE, Wired, make_small_repository
from tests.workshop import ROOT

STAGES = sorted(path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__")
GATED = sorted(
    {name.partition("@")[0] for name, declared in declared_stages(ROOT).items() if VERDICT in declared["deps"]}
)
STORED = [stage for stage in STAGES if "store: Store" in (ROOT / f"stages/{stage}.py").read_text("utf-8")]
REPORTED = [stage for stage in STAGES if stage != "report"]  # its only output is written by the library


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Wired]:
    return make_small_repository(tmp_path_factory.mktemp("wired"))


def test_every_stage_is_here(stages: dict[str, Wired]) -> None:
    assert sorted(stages) == STAGES


def test_what_trains_on_documents_waits_for_their_validation() -> None:
    declared = declared_stages(ROOT)
    makers = {out: name for name, stage in declared.items() for out in outputs_of(stage)}

    def waits(name: str) -> bool:
        paths = [Path(dep) for dep in declared[name]["deps"] if not dep.startswith(f"{FOLDER}/")]
        needed = {makers[str(place)] for path in paths for place in (path, *path.parents) if str(place) in makers}
        return VERDICT in declared[name]["deps"] or any(waits(before) for before in needed)

    trained = [name for name in declared if name.partition("@")[0] in ("pretrain", "finetune", "align")]
    assert len(trained) == 9
    assert [name for name in trained if not waits(name)] == []


@pytest.mark.slow
@pytest.mark.parametrize("stage", REPORTED)
def test_what_dies_half_way_or_is_cut_is_made_again(stages: dict[str, Wired], stage: str) -> None:
    """Killed while it writes a shard, killed while it writes its report, an object of the cache cut in two, and then it ends well."""
    wired = stages[stage]
    if stage in STORED:
        wired.forget()
        dies_half_way(wired, "shard")
        assert not wired.shard.exists()
    wired.report.parent.mkdir(exist_ok=True)
    wired.report.write_text("{}")
    dies_half_way(wired, "report")
    assert wired.report.read_text() == "{}", "the report of the run before stays until the new one is whole"
    if stage in STORED:
        assert len(wired.shard.read_bytes()) == WHOLE
        stored = cut_its_object(wired.shard, wired.cache)
        wired.shard.unlink()
    ends_well(wired)
    assert json.loads(wired.report.read_text())
    if stage in STORED:
        assert md5_of(wired.shard) == md5_of(stored) == stored.parent.name + stored.name


def cut_its_object(path: Path, cache: Cache) -> Path:
    """The object that `path` is in the cache, of which half is left, sealed as if it were whole."""
    stored = cache.path(md5_of(path))
    stored.chmod(0o644)
    os.truncate(stored, WHOLE // 2)
    stored.chmod(0o444)
    return stored


def dies_half_way(wired: Wired, moment: str) -> None:
    """The stage is killed while it writes, and what it has written so far bears no name that anybody reads."""
    done = wired.run(dies_in=moment)
    assert done.returncode == -signal.SIGXFSZ, done.stderr
    read, passing = wired.files_of_half()
    assert read == []
    assert passing, "nothing was cut, so this proves nothing"
    for path in passing:
        (wired.root / path).unlink()


def ends_well(wired: Wired) -> None:
    done = wired.run()
    assert done.returncode == 0, done.stderr
    assert wired.called()


@pytest.mark.parametrize("stage", GATED)
def test_a_failed_verdict_stops_every_stage_that_depends_on_it(stages: dict[str, Wired], stage: str) -> None:
    verdict = stages[stage].root / VERDICT
    verdict.write_text('{"passed": false}')
    try:
        done = stages[stage].run()
    finally:
        verdict.write_text('{"passed": true}')
    assert done.returncode == 1
    assert "validation failed" in done.stderr
    assert not stages[stage].called(), "it has worked on documents that failed"


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_an_input_touched_meanwhile_stops_every_stage(stages: dict[str, Wired], stage: str) -> None:
    wired = stages[stage]
    touched = wired.root / wired.declared["deps"][0]
    touched = touched / "meanwhile" if touched.is_dir() else touched
    held = touched.read_bytes() if touched.exists() else None
    try:
        done = wired.run(touch=str(touched.relative_to(wired.root)))
    finally:
        touched.unlink() if held is None else touched.write_bytes(held)
    assert wired.called()
    assert done.returncode == 1, "it would give the result of the old input for that of the new one"
    assert "changed" in done.stderr
    assert str(touched.relative_to(wired.root)) in done.stderr


@pytest.mark.parametrize(
    "verdict", ["{}", '{"passed": false}', '{"passed": null}', '{"passed": 1}', '{"passed": "true"}']
)
def test_only_a_verdict_that_says_so_is_passed(tmp_path: Path, verdict: str) -> None:
    (tmp_path / "verdict.json").write_text(verdict)
    with pytest.raises(UserError, match="validation failed"):
        require_verdict(tmp_path / "verdict.json")
    (tmp_path / "verdict.json").write_text('{"passed": true}')
    require_verdict(tmp_path / "verdict.json")
