"""Rows of what this build is beside the one before."""

from privllm.report.revision import alignments, begins_elsewhere, feedback_rows, gate_rows, start_rows


def test_starts_name_what_was_added() -> None:
    report = {
        "causal": {"start": "incumbent", "bytes": 1},
        "tokenizer": {"start": "scratch", "added": ["\x1b[2J"]},
        "parameters_read": "x",
    }
    assert start_rows(report) == [("causal", "incumbent", ""), ("tokenizer", "scratch", r"\x1b[2J")]
    assert begins_elsewhere(report)
    assert not begins_elsewhere({"causal": {"start": "scratch"}})
    assert start_rows({}) == []


def test_feedback_is_counted_where_there_is_any() -> None:
    assert feedback_rows({"lines": 0, "sft": 0, "kept": 0}) == []
    rows = feedback_rows({"lines": 3, "kept": 1, "sft": 1, "quarantined": {"json": 1, "too_long": 1}})
    assert rows[0] == ("Ratings and votes", 3)
    assert rows[-2:] == [("left out: json", 1), ("left out: too long", 1)]
    assert feedback_rows({"lines": 0, "sft": 2})  # conversations of data/chat


def test_alignment_says_what_was_learnt_or_why_nothing() -> None:
    passed, aligned = alignments(
        {
            "masked": {"aligned": False, "passed_through": "nobody talks to it"},
            "causal": {"aligned": True, "dpo": {}, "text_loss": {"before": 1.0, "after": 2.0, "difference": 1.0}},
        }
    )
    assert (passed.passed_through, passed.figures) == ("nobody talks to it", [])
    assert [label for label, _ in aligned.phases] == ["preferences"]
    assert (aligned.figures[0].before, aligned.figures[0].after, aligned.figures[0].interval) == (1.0, 2.0, None)


def test_the_gates_figures_keep_interval_and_verdict() -> None:
    figure = {
        "incumbent": 1.0,
        "candidate": 2.0,
        "difference": 1.0,
        "units": 9,
        "verdict": "kept",
        "low": 0.5,
        "high": 1.5,
    }
    (row,) = gate_rows({"figures": {"causal.forgetting": figure}})
    assert (row.before, row.after, row.interval, row.of, row.verdict) == (1.0, 2.0, (0.5, 1.5), 9, "kept")
    assert gate_rows({}) == []
