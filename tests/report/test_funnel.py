from hypothesis import given
from hypothesis import strategies as st

from privllm.report.funnel import Loss, funnel, losses

COUNTS = st.dictionaries(st.sampled_from(["a", "b_c", "near", "exact"]), st.integers(0, 50))


@given(COUNTS, COUNTS, COUNTS, st.integers(0, 1000))
def test_what_adds_up_is_said_to(quarantined: dict, dropped: dict, duplicates: dict, kept: int) -> None:
    clean = kept + sum(duplicates.values())
    readable = clean + sum(dropped.values())
    reports = {
        "collect": {"documents": readable, "quarantined": quarantined},
        "clean": {"kept": clean, "dropped": dropped},
        "dedup": {"kept": kept, "dropped": duplicates},
    }
    found = funnel(reports)
    assert not found.disagreements
    assert found.steps[0].count == found.steps[-1].count + found.lost
    assert [step.count for step in found.steps] == sorted((step.count for step in found.steps), reverse=True)


def test_a_lost_document_is_said() -> None:
    found = funnel({"collect": {"documents": 10}, "clean": {"kept": 7, "dropped": {"too_short": 2}}})
    assert found.disagreements == ("10 documents were readable, but 7 clean and 2 dropped make 9.",)


def test_absent_stages_are_left_out() -> None:
    assert funnel({}).steps == ()
    only = funnel({"dedup": {"documents_in": 5, "kept": 4, "dropped": {"near": 1}}})
    assert [(step.label, step.count, step.share) for step in only.steps] == [("given", 5, 1.0), ("distinct", 4, 0.8)]


def test_losses_are_named_and_sorted() -> None:
    assert losses({"too_short": 2, "near": 5, "empty": 2, "none": 0}) == (
        Loss("near-duplicate", 5),
        Loss("empty", 2),
        Loss("too short", 2),
    )
    assert losses(None) == ()


def test_cutting_documents_adds_some_and_keeps_the_share() -> None:
    """9 of 10 are readable, one of these becomes 12 sections; of 20 half are clean."""
    counts = {"documents_in": 9, "cut": 1, "sections": 12, "kept": 10, "dropped": {"too_short": 10}}
    result = funnel({"collect": {"documents": 9, "quarantined": {"empty": 1}}, "clean": counts})
    shown = [(step.label, step.count, round(step.share, 3)) for step in result.steps]
    assert shown == [("found", 10, 1.0), ("readable", 9, 0.9), ("in sections", 20, 0.9), ("clean", 10, 0.45)]
    assert (result.gained, result.lost, result.disagreements) == (11, 11, ())
    counts["kept"] = 9
    assert len(funnel({"collect": {"documents": 9, "quarantined": {"empty": 1}}, "clean": counts}).disagreements) == 1
