"""rules: what keeps a limit passes, what does not is named, and nothing that was asked is forgotten."""

import math

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
    rules = {"bits_per_byte": Rule(max_increase=0.1), "masked.bits_per_byte": Rule(max_increase=0.2), "preferences": Rule(max_decrease=0)}
    assert list(rules_for("masked.bits_per_byte", rules)) == ["bits_per_byte", "masked.bits_per_byte"]
    assert list(rules_for("causal.bits_per_byte", rules)) == ["bits_per_byte"]
    assert rules_for("causal.forgetting", rules) == {}
    assert without_figure(["causal.bits_per_byte"], rules) == ["masked.bits_per_byte", "preferences"]


def test_what_is_asked_is_judged_and_the_rest_is_shown() -> None:
    figures = {
        "causal.bits_per_byte": Figure(2.0, 2.1, (0.02, 0.18), 40),
        "causal.forgetting": Figure(2.0, 2.4, None, 3),
        "causal.preferences": Figure(0.5, 0.75, (0.1, 0.4), 16),
    }
    rules = {"bits_per_byte": Rule(max_increase=0.15), "preferences": Rule(max_decrease=-0.2)}
    assert judge(figures, rules, DIFFERENCE) == {"causal.bits_per_byte": [], "causal.preferences": []}
    assert judge(figures, rules, INTERVAL) == {"causal.bits_per_byte": ["max_increase 0.15"], "causal.preferences": ["max_decrease -0.2"]}
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


@pytest.mark.parametrize("name", ["bits_per_byte", "masked.forgetting", "causal.preferences", "tasks.questions.loss"])
def test_names_of_figures(name: str) -> None:
    assert KNOWN.fullmatch(name)


@pytest.mark.parametrize("name", ["bits_per_bite", "causal.loss", "", "tasks.questions", "a.b.bits_per_byte"])
def test_names_of_nothing(name: str) -> None:
    assert not KNOWN.fullmatch(name)


def test_a_broken_rule_is_named() -> None:
    cfg = GateConfig(rules={"forgetting": Rule(max_increase=0.1), "preferences": Rule(max_decrease=0)})
    report = report_of(
        cfg, "privllm@v1.0.0", {"causal.forgetting": Figure(2.0, 2.2, (0.1, 0.3), 9), "causal.bits_per_byte": Figure(2, 2, None, 1)}
    )
    with pytest.raises(UserError, match=r"worse than privllm@v1\.0\.0"):
        require_pass(report)
    assert report["not_measured"] == ["preferences"]
    assert report["figures"]["causal.forgetting"]["verdict"] == "broken: max_increase 0.1"
    assert report["figures"]["causal.bits_per_byte"]["verdict"] == "not asked"


def test_settings_that_mean_nothing_are_refused() -> None:
    for wrong in ({"evidence": "hunch"}, {"draws": 1}, {"rules": {"bits_per_bite": Rule(max_increase=1)}}):
        with pytest.raises(UserError, match="gate"):
            GateConfig(**wrong)
    assert GateConfig(evidence=INTERVAL).rules == {}


def test_the_first_model_has_nothing_to_be_worse_than(capsys: pytest.CaptureFixture) -> None:
    require_pass(without_incumbent())
    assert "No model has been promoted yet" in capsys.readouterr().out
