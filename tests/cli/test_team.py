"""`privllm push` and `privllm pull` say what travelled, and leave with 1 where something was refused."""

import pytest
from typer.testing import CliRunner

from privllm.cli.app import app
from privllm.manage.pull import NAMED, Pulled
from privllm.manage.push import Pushed
from tests.workshop import ROOT


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(("refused", "code"), [({}, 0), ({f"a/{i}": "cut short" for i in range(NAMED + 2)}, 1)])
def test_what_was_refused_is_named(monkeypatch: pytest.MonkeyPatch, refused: dict[str, str], code: int) -> None:
    asked: list[object] = []

    def pull(*options: object) -> Pulled:
        asked.extend(options)
        return Pulled("s3://b/f", files=1_234, there=3, taken=2, made={"clean": 2}, refused=refused)

    monkeypatch.setattr("privllm.manage.pull.pull", pull)
    done = CliRunner().invoke(app, ["pull", "-r", "far", "-j", "2", "--sample", "7", "--seed", "9"])
    assert asked == ["far", 2, 7, 9]
    assert done.exit_code == code
    assert "1,234 files fetched from s3://b/f" in done.output
    assert "2 actions made again (clean 2): the same bytes" in done.output
    assert done.output.count("REFUSED") == (NAMED + 1 if refused else 0)
    assert ("2 more" in done.output) == bool(refused)


def test_what_stays_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Pushed("/mnt/x", files=2, objects=3, actions=5, sent=4, others=6, broken=7, removed=8, missing=9)
    monkeypatch.setattr("privllm.manage.push.push", lambda *options: sent)
    done = CliRunner().invoke(app, ["push"])
    assert done.exit_code == 0
    for words in (
        "2 files",
        "3 more sent",
        "5 of this build, 4",
        "6 actions of doc",
        "7 actions without",
        "8 actions",
        "9 files",
    ):
        assert words in done.output


def test_the_sample_is_another_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes into a remote must not know what will be looked at."""
    seeds: set[object] = set()

    def pull(remote: str, jobs: int | None, sample: int, seed: int) -> Pulled:
        seeds.add(seed)
        return Pulled("x")

    monkeypatch.setattr("privllm.manage.pull.pull", pull)
    for _ in range(5):
        CliRunner().invoke(app, ["pull"])
    assert len(seeds) > 1
