import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from privllm.core.errors import UserError
from privllm.report.summary import durations, minutes, summary_table


def shown(reports: Path, log: Path, samples: Path | None = None) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(summary_table(reports, log, samples))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_whole_summary(tmp_path: Path) -> None:
    for stage, report in {
        "collect": {"documents": 1204, "quarantined": {"empty": 3}},
        "clean": {"kept": 1200, "dropped": {"too_short": 4}},
        "pack": {"tokens": {"train": 1_170_000}},
        "evaluate/causal": {"perplexity": 3.5, "test": {"perplexity": 58.123, "bits_per_byte": 1.8341, "documents": 9}},
        "evaluate/masked": {"perplexity": 9.125},
    }.items():
        (tmp_path / f"{stage}.json").parent.mkdir(exist_ok=True)
        (tmp_path / f"{stage}.json").write_text(json.dumps(report))
    (tmp_path / "index.html").write_text("")
    samples = tmp_path / "texts/causal/samples.json"
    samples.parent.mkdir(parents=True)
    samples.write_text(
        json.dumps({"samples": [{"prompt": "One", "text": " [bold]two[/bold]\x1b[2J" + "long " * 99}] * 5})
    )
    log = tmp_path / "log.jsonl"
    log.write_text('{"stage": "pack", "seconds": 75.2, "ended": 9}\n')
    text = shown(tmp_path, log, tmp_path / "texts")
    for words in (
        "1,204  3 empty",
        "4 too short",
        "1.17 M",
        "58.12",
        "1.834",
        "not yet",
        "1 min 15 s",
        "[bold]two",
        "causal 2",
        "masked",
        "9.12",
        "index.html",
    ):
        assert words in text, words
    assert "causal 3" not in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_baselines_stand_below_the_figures_of_the_models(tmp_path: Path) -> None:
    measured = {"training_bytes": 1, "bits_per_byte": {"xz -9e": 1.317}, "bits_per_byte_clean": {"5-gram": 1.9}}
    (tmp_path / "evaluate").mkdir()
    (tmp_path / "evaluate/causal.json").write_text(json.dumps({"bits_per_byte": 1.674, "baselines": measured}))
    text = shown(tmp_path, tmp_path / "log.jsonl")
    assert "1.317" in text
    assert "5-gram, not copied from training" in text
    assert "causal needs 1.674 bits per byte, more than xz -9e for the same documents" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_tuned_models_stand_above_their_baselines(tmp_path: Path) -> None:
    baselines = {"judged_by": "accuracy", "scores": {"majority": {"accuracy": 0.6}}, "beaten": False}
    baselines |= {"sentences": ["The model loses to the strongest baseline, majority: accuracy 0.500 against 0.600."]}
    report = {"main": "accuracy", "family": "masked", "examples": {"train": 9, "test": 3}, "test": {"accuracy": 0.5}}
    (tmp_path / "finetune").mkdir()
    (tmp_path / "finetune/tickets.json").write_text(json.dumps(report | {"baselines": baselines}))
    (tmp_path / "finetune/other.json").write_text(json.dumps({"skipped": "no examples"}))
    (tmp_path / "collect.json").write_text("{}")
    text = shown(tmp_path, tmp_path / "log.jsonl")
    lines = [line.split() for line in text.splitlines()]
    assert ["tickets", "accuracy", "0.500"] in lines
    assert ["majority", "0.600"] in lines
    assert "tickets  The model loses to the strongest baseline" in text
    assert "other" not in text


def test_held_out_figures_keep_a_line_each_in_80_columns(tmp_path: Path) -> None:
    (tmp_path / "evaluate").mkdir()
    for family, name in (("causal", "bits_per_byte"), ("masked", "pseudo_bits"), ("seq2seq", "denoising_bits")):
        figures = {name: 12.5, f"{name}_clean": 13.25, "interval": [11.5, 13.5], "documents": 9999, "left_out": 1200}
        (tmp_path / "evaluate" / f"{family}.json").write_text(json.dumps(figures | {"test": figures}))
    lines = shown(tmp_path, tmp_path / "log.jsonl").splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("held-out bits"))
    table = [" ".join(line.split()) for line in lines[begin : begin + 9]]
    assert table == [
        "held-out bits per byte (95 %) test validation",
        "causal 12.500 (11.500–13.500) 12.500 (11.500–13.500)",
        "not copied from training 13.250 (too few) 13.250 (too few)",
        "masked pseudo 12.500 (11.500–13.500) 12.500 (11.500–13.500)",
        "not copied from training 13.250 (too few) 13.250 (too few)",
        "seq2seq denoising 12.500 (11.500–13.500) 12.500 (11.500–13.500)",
        "not copied from training 13.250 (too few) 13.250 (too few)",
        "documents 9,999 9,999",
        "left out (trained on before) 1,200 1,200",
    ]


def test_what_people_taught_and_what_the_gate_says(tmp_path: Path) -> None:
    used = {kind: {"used": number} for kind, number in (("corrections", 1200), ("preferences", 7))}
    align = {
        "aligned": True,
        "people": 2,
        "training": used,
        "preference_accuracy": {"before": 0.5, "after": 0.75, "judged": 16},
    }
    (tmp_path / "align").mkdir()
    (tmp_path / "align/causal.json").write_text(json.dumps(align))
    (tmp_path / "gate.json").write_text(json.dumps({"incumbent": "privllm@v1.0.0", "passed": False, "figures": {}}))
    text = " ".join(shown(tmp_path, tmp_path / "log.jsonl").split())
    assert (
        "1,200 corrections and 7 preferences of 2 people; agrees with 75% of 16 held-out ones, before with 50%" in text
    )
    assert "gate FAILED, see reports/gate.json, against privllm@v1.0.0" in text
    (tmp_path / "align/causal.json").write_text(json.dumps({"aligned": False, "passed_through": "nothing was said"}))
    (tmp_path / "gate.json").write_text(json.dumps({"incumbent": "", "passed": True, "figures": {}}))
    assert not {"learnt", "gate"} & set(shown(tmp_path, tmp_path / "log.jsonl").split())


@pytest.mark.parametrize("fits", [True, False])
def test_a_kept_vocabulary_that_fits_badly_is_said(tmp_path: Path, fits: bool) -> None:
    report = {"fits": fits, "new_documents": 1200, "new_bytes_per_token": 2.5, "learnt_bytes_per_token": 4.25}
    (tmp_path / "tokenizer.json").write_text(json.dumps(report))
    said = " ".join(shown(tmp_path, tmp_path / "log.jsonl").split())
    assert ("1,200 new documents" in said and "privllm vocabulary drop" in said) is not fits


def test_where_nothing_was_built_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"is not the root of a build \(dvc\.yaml is missing\): go to the repository's folder"
    ):
        shown(Path("reports"), tmp_path / "log.jsonl")
    (tmp_path / "dvc.yaml").write_text("stages: {}")
    (tmp_path / "reports").mkdir()
    with pytest.raises(UserError, match="nothing was built here yet: `dvc repro` builds"):
        shown(Path("reports"), tmp_path / "log.jsonl")


def test_nothing_yet(tmp_path: Path) -> None:
    (tmp_path / "fingerprint.json").write_text("{}")
    text = shown(tmp_path, tmp_path / "log.jsonl")
    assert "no documents were collected yet" in text
    assert "not written yet" in text


def test_the_last_run_of_each_stage_counts(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    runs = [("pack", 5, 10), ("clean", 2, 20), ("pack", 7, 30)]
    log.write_text(
        "".join(json.dumps({"stage": s, "seconds": n, "ended": e}) + "\n" for s, n, e in runs) + '{"stage": "cut'
    )
    assert list(durations(log).items()) == [("clean", 2.0), ("pack", 7.0)]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (65, "1 min 05 s"), (3600, "60 min 00 s")]
)
def test_minutes(seconds: float, words: str) -> None:
    assert minutes(seconds) == words
