from pathlib import Path

import pytest

from privllm.collect import slow_files
from privllm.collect.recipe import CollectConfig, collect
from privllm.collect.slow_files import LEAST_SECONDS, ReadTimes, slowest_files


def write_times(stem: Path, *seconds: float) -> None:
    times = ReadTimes()
    for number, value in enumerate(seconds):
        times.note(f"{stem.name}/{number}.pdf", value)
    times.write(stem)


def test_the_slowest_of_all_groups_are_named(tmp_path: Path) -> None:
    write_times(tmp_path / "a", 2, 9.6, 3, 4)
    write_times(tmp_path / "b", 0.1, 30)
    write_times(tmp_path / "c", 0.2)
    assert not (tmp_path / "c.slow").exists()
    assert slowest_files(tmp_path) == "slowest to read: b/1.pdf (30 s), a/1.pdf (10 s), a/3.pdf (4 s)"


def test_where_none_is_slow_nothing_is_said(tmp_path: Path) -> None:
    write_times(tmp_path / "a", LEAST_SECONDS / 2)
    assert slowest_files(tmp_path) == ""


def test_collect_says_them_and_writes_them_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources/a.txt").write_text("The pump lifts water.")
    collect(CollectConfig(), tmp_path / "sources", tmp_path / "quick")
    assert "slowest" not in "".join(capfd.readouterr())
    monkeypatch.setattr(slow_files, "LEAST_SECONDS", 0.0)
    collect(CollectConfig(), tmp_path / "sources", tmp_path / "slow")
    assert "collect: slowest to read: a.txt (0 s)" in "".join(capfd.readouterr())
    written = [
        {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        for out in (tmp_path / "quick", tmp_path / "slow")
    ]
    assert written[0] == written[1]
