"""rules: what keeps a limit passes, what does not is named, and nothing that was asked is forgotten."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.errors import UserError
from privllm.evaluate.rules import (
    DIFFERENCE,
    INTERVAL,
    KNOWN,
    Figure,
    GateConfig,
    Rule,
    judge,
    report_of,
    require_pass,
    rules_for,
    table_of,
    without_figure,
    without_incumbent,
)

limits = st.floats(-10, 10)
differences = st.floats(-20, 20)


@given(differences, limits)
def test_limits_are_inequalities(difference: float, limit: float) -> None:
    assert (Rule(max_increase=limit).broken(difference, difference) == []) == (difference <= limit)
    assert (Rule(max_decrease=limit).broken(difference, difference) == []) == (-difference <= limit)
    assert Rule(max_increase=limit, max_decrease=-limit).broken(limit, limit) == []


@given(differences, st.floats(0, 5), limits)
def test_an_interval_keeps_a_limit_when_its_worse_end_does(middle: float, half: float, limit: float) -> None:
    low, high = middle - half, middle + half
    for rule in (Rule(max_increase=limit), Rule(max_decrease=limit), Rule(max_decrease=-limit)):
        ends = [rule.broken(end, end) for end in (low, high)]
        assert bool(rule.broken(low, high)) == any(ends)


def test_a_rule_is_for_its_figure_and_for_those_that_end_with_it() -> None:
    rules = {
        "bits_per_byte_clean": Rule(max_increase=0.1),
        "masked.bits_per_byte_clean": Rule(max_increase=0.2),
        "preferences": Rule(max_decrease=0),
    }
    assert list(rules_for("masked.bits_per_byte_clean", rules)) == ["bits_per_byte_clean", "masked.bits_per_byte_clean"]
    assert list(rules_for("causal.bits_per_byte_clean", rules)) == ["bits_per_byte_clean"]
    assert rules_for("causal.forgetting", rules) == {}
    assert without_figure(["causal.bits_per_byte_clean"], rules) == ["masked.bits_per_byte_clean", "preferences"]


def test_what_is_asked_is_judged_and_the_rest_is_shown() -> None:
    figures = {
        "causal.bits_per_byte_clean": Figure(2.0, 2.1, (0.02, 0.18), 40),
        "causal.forgetting": Figure(2.0, 2.4, None, 3),
        "causal.preferences": Figure(0.5, 0.75, (0.1, 0.4), 16),
    }
    rules = {"bits_per_byte_clean": Rule(max_increase=0.15), "preferences": Rule(max_decrease=-0.2)}
    assert judge(figures, rules, DIFFERENCE) == {"causal.bits_per_byte_clean": [], "causal.preferences": []}
    assert judge(figures, rules, INTERVAL) == {
        "causal.bits_per_byte_clean": ["max_increase 0.15"],
        "causal.preferences": ["max_decrease -0.2"],
    }
    assert judge(figures, {"forgetting": Rule(max_increase=9)}, INTERVAL) == {"causal.forgetting": ["max_increase 9"]}
    shown = {name: figure.plain() | {"verdict": "kept"} for name, figure in figures.items()}
    lines = table_of(shown)
    assert len(lines) == 4
    assert {"+0.1000", "+0.0200"} <= set(lines[1].split())
    assert "too few" in lines[2]


@pytest.mark.parametrize("limit", [{}, {"max_increase": math.nan}, {"max_decrease": math.inf}])
def test_a_rule_without_a_usable_limit_is_refused(limit: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"gate\.rules"):
        Rule(**limit)


@pytest.mark.parametrize(
    "name", ["bits_per_byte_clean", "masked.forgetting", "causal.preferences", "tasks.questions.loss"]
)
def test_names_of_figures(name: str) -> None:
    assert KNOWN.fullmatch(name)


@pytest.mark.parametrize("name", ["bits_per_bite", "causal.loss", "", "tasks.questions", "a.b.bits_per_byte_clean"])
def test_names_of_nothing(name: str) -> None:
    assert not KNOWN.fullmatch(name)


def test_a_broken_rule_is_named() -> None:
    cfg = GateConfig(rules={"forgetting": Rule(max_increase=0.1), "preferences": Rule(max_decrease=0)})
    report = report_of(
        cfg,
        "privllm@v1.0.0",
        {"causal.forgetting": Figure(2.0, 2.2, (0.1, 0.3), 9), "causal.bits_per_byte_clean": Figure(2, 2, None, 1)},
    )
    with pytest.raises(UserError, match=r"worse than privllm@v1\.0\.0"):
        require_pass(report)
    assert report["not_measured"] == ["preferences"]
    assert report["figures"]["causal.forgetting"]["verdict"] == "broken: max_increase 0.1"
    assert report["figures"]["causal.bits_per_byte_clean"]["verdict"] == "not asked"


def test_settings_that_mean_nothing_are_refused() -> None:
    for wrong in ({"evidence": "hunch"}, {"rules": {"bits_per_bite": Rule(max_increase=1)}}):
        with pytest.raises(UserError, match="gate"):
            GateConfig(**wrong)
    assert GateConfig(evidence=INTERVAL).rules == {}


def test_the_first_model_has_nothing_to_be_worse_than(capsys: pytest.CaptureFixture) -> None:
    report = without_incumbent(GateConfig({"preferences": Rule(max_decrease=0)}), {})
    assert report["passed"]
    require_pass(report)
    assert "No model has been promoted yet" in capsys.readouterr().out


def test_the_first_model_keeps_the_limits_that_need_no_incumbent(capsys: pytest.CaptureFixture) -> None:
    figures = {
        "causal.general_text": Figure(1.0, 1.03, (0.01, 0.05), 40, "its base"),
        "causal.copied_runs": Figure(0.0, 0.25, None, 8, "nothing"),
    }
    rules = {"general_text": Rule(max_increase=0.02), "copied_runs": Rule(max_increase=0.3)}
    report = without_incumbent(GateConfig(rules), figures)
    with pytest.raises(UserError, match="breaks a limit"):
        require_pass(report)
    assert _columns(capsys.readouterr().out)[2:] == [
        "causal.general_text  1.0000 its base  1.0300  +0.0300  +0.0100 to +0.0500  40  broken: max_increase 0.02",
        "causal.copied_runs  0.0000 nothing  0.2500  +0.2500  too few  8  kept",
    ]
    assert without_incumbent(GateConfig({"general_text": Rule(max_increase=0.04)}), figures)["passed"]


AT_THE_LIMIT = [
    # incumbent, candidate, rule, kept
    (2.0, 2.01, {"max_increase": 0.01}, True),  # 2.01 - 2.0 is 0.009999999999999787
    (1.0, 1.01, {"max_increase": 0.01}, True),  # 1.01 - 1.0 is 0.010000000000000009
    (2.0, 2.010001, {"max_increase": 0.01}, False),
    (2.0, 1.0, {"max_increase": 0.0}, True),
    (2.0, 2.0, {"max_increase": 0.0}, True),
    (2.0, 2.000001, {"max_increase": 0.0}, False),
    (2.0, 1.99, {"max_increase": -0.01}, True),  # it must get better by as much
    (2.0, 1.990001, {"max_increase": -0.01}, False),
    (0.7, 0.68, {"max_decrease": 0.02}, True),
    (0.7, 0.679999, {"max_decrease": 0.02}, False),
    (0.7, 0.9, {"max_decrease": 0.0}, True),
    (0.7, 0.75, {"max_decrease": -0.05}, True),
    (0.7, 0.749999, {"max_decrease": -0.05}, False),
    (0.5, 0.6, {"max_increase": 0.1, "max_decrease": 0.1}, True),
    (0.5, 0.4, {"max_increase": 0.1, "max_decrease": 0.1}, True),
    (0.5, 0.600001, {"max_increase": 0.1, "max_decrease": 0.1}, False),
    (0.5, 0.399999, {"max_increase": 0.1, "max_decrease": 0.1}, False),
]


@pytest.mark.parametrize(("incumbent", "candidate", "rule", "kept"), AT_THE_LIMIT)
def test_a_rule_at_its_limit(incumbent: float, candidate: float, rule: dict[str, float], kept: bool) -> None:
    report = report_of(
        GateConfig({"bits_per_byte_clean": Rule(**rule)}),
        "v1",
        {"causal.bits_per_byte_clean": Figure(incumbent, candidate, None, 9)},
    )
    assert report["passed"] is kept
    assert report["figures"]["causal.bits_per_byte_clean"]["verdict"].startswith("kept" if kept else "broken: ")


@pytest.mark.parametrize(
    ("interval", "rule", "kept"),
    [
        ((-0.02, 0.01), {"max_increase": 0.01}, True),
        ((-0.02, 0.010001), {"max_increase": 0.01}, False),
        ((-0.02, 0.5), {"max_decrease": 0.02}, True),
        ((-0.020001, 0.5), {"max_decrease": 0.02}, False),
        (None, {"max_increase": 100.0}, False),
        (None, {"max_decrease": 100.0}, False),
    ],
)
def test_an_interval_at_its_limit(interval: tuple[float, float] | None, rule: dict[str, float], kept: bool) -> None:
    report = report_of(
        GateConfig({"forgetting": Rule(**rule)}, INTERVAL), "v1", {"causal.forgetting": Figure(1.0, 1.0, interval, 9)}
    )
    assert report["passed"] is kept


def test_what_is_no_number_keeps_no_limit() -> None:
    up, down = Rule(max_increase=5), Rule(max_decrease=5)
    assert up.broken(math.nan, math.nan) == up.broken(0, math.inf) == up.broken(0, math.nan) == ["max_increase 5"]
    assert (
        down.broken(math.nan, math.nan) == down.broken(-math.inf, 0) == down.broken(math.nan, 0) == ["max_decrease 5"]
    )
    assert up.broken(-math.inf, 0) == down.broken(0, math.inf) == []


@pytest.mark.parametrize(
    ("incumbent", "candidate"), [(2.0, math.nan), (math.nan, 2.0), (2.0, math.inf), (math.inf, math.inf)]
)
@pytest.mark.parametrize("rules", [{}, {"bits_per_byte_clean": Rule(max_increase=9)}])
def test_a_figure_that_is_no_number_stops_the_gate_by_name(
    incumbent: float, candidate: float, rules: dict[str, Rule]
) -> None:
    with pytest.raises(UserError, match=r"`causal\.bits_per_byte_clean` is not a number"):
        report_of(GateConfig(rules), "v1", {"causal.bits_per_byte_clean": Figure(incumbent, candidate, None, 9)})


def test_a_rule_for_which_nothing_was_measured_is_named_and_breaks_nothing() -> None:
    rules = {
        "preferences": Rule(max_decrease=0.02),
        "tasks.questions.rouge_l": Rule(max_decrease=0),
        "masked.bits_per_byte_clean": Rule(max_increase=0),
    }
    report = report_of(GateConfig(rules), "v1", {"causal.bits_per_byte_clean": Figure(1.0, 9.0, None, 9)})
    assert (report["passed"], report["not_measured"]) == (True, list(rules))
    assert report_of(GateConfig(rules), "v1", {}) == {
        "incumbent": "v1",
        "passed": True,
        "figures": {},
        "not_measured": list(rules),
        "left_out": {},
    }
    require_pass(report)


def test_one_broken_rule_of_many_breaks_the_gate() -> None:
    figures = {
        "causal.bits_per_byte_clean": Figure(1.0, 1.0, None, 9),
        "masked.bits_per_byte_clean": Figure(1.0, 2.0, None, 9),
    }
    report = report_of(
        GateConfig({"bits_per_byte_clean": Rule(max_increase=0.5), "causal.bits_per_byte_clean": Rule(max_increase=1)}),
        "v1",
        figures,
    )
    assert [figure["verdict"] for figure in report["figures"].values()] == ["kept", "broken: max_increase 0.5"]
    assert not report["passed"]
    both = GateConfig(
        {"bits_per_byte_clean": Rule(max_increase=0.5), "masked.bits_per_byte_clean": Rule(max_increase=0.1)}
    )
    assert (
        report_of(both, "v1", figures)["figures"]["masked.bits_per_byte_clean"]["verdict"]
        == "broken: max_increase 0.5, max_increase 0.1"
    )


def test_a_name_ends_a_figures_name_only_behind_a_dot() -> None:
    rules = {"bits_per_byte_clean": Rule(max_increase=0)}
    assert rules_for("causal.my_bits_per_byte_clean", rules) == {}
    assert without_figure(["causal.my_bits_per_byte_clean"], rules) == ["bits_per_byte_clean"]


def test_the_table_says_what_was_measured(capsys: pytest.CaptureFixture) -> None:
    figures = {
        "causal.bits_per_byte_clean": Figure(2.0, 2.1, (0.02, 0.18), 1234),
        "causal.preferences": Figure(0.5, 0.25, None, 3),
    }
    report = report_of(GateConfig({"preferences": Rule(max_decrease=0.1)}), "v1", figures)
    with pytest.raises(UserError, match="worse than v1"):
        require_pass(report)
    assert [line.split("  ") for line in _columns(capsys.readouterr().out)] == [
        ["figure", "incumbent", "candidate", "difference", "95 % interval", "of", "verdict"],
        ["causal.bits_per_byte_clean", "2.0000", "2.1000", "+0.1000", "+0.0200 to +0.1800", "1,234", "not asked"],
        ["causal.preferences", "0.5000", "0.2500", "-0.2500", "too few", "3", "broken: max_decrease 0.1"],
    ]


def _columns(text: str) -> list[str]:
    return [re.sub(" {2,}", "  ", line) for line in text.splitlines()]


def test_documents_that_were_left_out_are_said(capsys: pytest.CaptureFixture) -> None:
    figures = {"causal.forgetting": Figure(1.0, 1.0, None, 9)}
    require_pass(report_of(GateConfig({}), "v1", figures, {"causal": 0}))
    assert "Left out" not in capsys.readouterr().out
    require_pass(report_of(GateConfig({}), "v1", figures, {"causal": 3, "masked": 1200}))
    assert "the incumbent was trained on them: causal 3, masked 1,200 documents." in capsys.readouterr().out
