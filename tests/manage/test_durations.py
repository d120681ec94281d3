"""Times are read off the log's small and large runs."""

import json
from pathlib import Path

import pytest

from privllm.manage.durations import RECENT, Run, about, predict, read_log

MB = 1_000_000


def test_a_fixed_part_and_a_part_per_byte() -> None:
    runs = [Run(22.0, 10 * MB, 10 * MB), Run(2.0, 10 * MB, 0), Run(4.0, 10 * MB, MB)]
    assert predict(runs, 1.0) == pytest.approx(22, abs=1)
    assert predict(runs, 0.0) == pytest.approx(2, abs=1)
    assert predict(runs[:2], 0.5) == 12


def test_one_slow_run_among_many_moves_little() -> None:
    runs = [Run(1.0, MB, 0)] * 4 + [Run(11.0, MB, MB)] * 4
    assert predict([*runs, Run(90.0, MB, 0), Run(90.0, MB, MB)], 0.5) == predict(runs, 0.5) == 6


def test_the_corpus_of_today_counts() -> None:
    assert predict([Run(1.0, MB, 0), Run(11.0, MB, MB), Run(1.0, 2 * MB, 0)], 1.0) == 21


def test_one_size_is_a_rate_and_nothing_made_is_none() -> None:
    assert predict([Run(8.0, MB, MB)], 0.25) == 2
    assert predict([Run(0.5, MB, 0)], 0.25) is None
    assert predict([Run(0.5, MB, 0)], 0.0) == 0.5


def test_a_stage_without_shards_takes_what_it_took_lately() -> None:
    assert predict([Run(seconds, 0, 0) for seconds in (900, 900, 1, 2, 3, 4, 50)], 1.0) == 3
    assert predict([], 1.0) is None


def test_a_faster_large_run_gives_no_negative_time() -> None:
    assert predict([Run(9.0, MB, 0), Run(1.0, MB, MB)], 1.0) == 9


def test_the_log_with_a_torn_line(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    assert read_log(log) == {}
    lines = [
        json.dumps({"stage": "pack", "seconds": i, "ended": i, "bytes": 5, "bytes_made": 3}) for i in range(RECENT + 2)
    ]
    lines.append('{"stage": "pretrain", "seconds": 0.5, "ended": 1, "skipped": 1}')  # a note, not a training
    log.write_text("\n".join([*lines, '{"stage": "pretrain", "seconds": 60, "ended": 1}', "[1]", '{"stage": "cle']))
    runs = read_log(log)
    assert runs.keys() == {"pack", "pretrain"}
    assert len(runs["pack"]) == RECENT
    assert runs["pack"][-1] == Run(RECENT + 1, 5, 3)
    assert runs["pretrain"] == [Run(60, 0, 0)]


def test_people_read_times() -> None:
    assert [about(s) for s in (None, 0.2, 12.3, 240, 9000)] == [
        "unknown",
        "under 1 s",
        "about 12 s",
        "about 4 min",
        "about 2.5 h",
    ]
