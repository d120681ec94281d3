import pytest

from privllm.report.explanations import EXPLANATIONS, facts, short


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (999, "999"), (1200, "1.2 k"), (5_812_000, "5.81 M"), (2.5e9, "2.5 B")]
)
def test_short(value: float, shown: str) -> None:
    assert short(value) == shown


def test_only_what_is_there() -> None:
    found = facts({"evaluate": {"perplexity": 12.345, "accuracy": None}, "clean": {}})
    assert [(stage, fact.label, fact.value) for stage, all_of in found.items() for fact in all_of] == [
        ("evaluate", "Held-out perplexity", "12.35")
    ]


@pytest.mark.parametrize("stage", EXPLANATIONS)
def test_every_number_is_explained_in_a_sentence(stage: str) -> None:
    explanations = EXPLANATIONS[stage]
    assert all(entry.meaning.endswith(".") and len(entry.meaning) > 15 for entry in explanations)
    assert len({entry.key for entry in explanations}) == len(explanations)
