"""A family that is not built leaves a note, and what would begin with it hands the note on."""

import json
from pathlib import Path

import pytest

from privllm.engine.skipped_families import leave_note, not_built, notes_of, reason_in, skip, skipped_stages
from privllm.engine.store import work_counts

TASKS = {
    "gaps": {"family": "masked", "start": "data/pretrain/masked"},
    "slashed": {"family": "seq2seq", "start": "data/pretrain/seq2seq/"},
    "questions": {"family": "causal", "start": "data/pretrain/causal"},
    "elsewhere": {"family": "masked", "start": "data/base/masked"},
}


def test_a_note_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/model.safetensors").write_text("old")
    assert reason_in(tmp_path / "out") == ""
    assert leave_note("because", tmp_path / "out", tmp_path / "live") == {"skipped": "because"}
    for name in ("out", "live"):
        assert [path.name for path in (tmp_path / name).iterdir()] == ["skipped.json"]
        assert reason_in(tmp_path / name) == "because"


def test_skipping_is_said_and_is_no_measure_of_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("privllm.engine.skipped_families.work_counts", counts := type(work_counts)())
    skip("pretrain.masked", not_built("masked"), tmp_path / "out")
    assert "note: pretrain.masked is skipped: `families` in params.yaml does not name masked" in capsys.readouterr().err
    assert counts["skipped"] == 1
    assert json.loads((tmp_path / "out/skipped.json").read_text())["skipped"].startswith("`families`")


def test_which_stages_are_skipped() -> None:
    params = {"families": ["causal"], "finetune": {"tasks": TASKS}}
    assert skipped_stages(params) == {
        "pretrain@masked": "masked",
        "pretrain@seq2seq": "seq2seq",
        "finetune@gaps": "masked",
        "finetune@slashed": "seq2seq",
    }
    (note,) = notes_of(skipped_stages(params))
    assert note.startswith("finetune@gaps, finetune@slashed: skipped")
    assert note.endswith("`families` does not name masked and seq2seq.")
    assert skipped_stages({"families": ["causal", "masked", "seq2seq"], "finetune": {"tasks": TASKS}}) == {}
    assert notes_of({"pretrain@masked": "masked"}) == []
    assert skipped_stages({}) == {}
