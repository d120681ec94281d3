"""Documents are annotated as far as something reads it."""

import pytest

from privllm.annotate.readers import splits_read

ALL, JUDGED = ("train", "validation", "test"), ("validation",)
PLAIN = {"spans": 0.0, "weights_by_pos": {}}
GAPS = {"gaps": {"kind": "tokens"}, "docstring": {"kind": "text2text"}}
LEARNT = {
    "gaps": {"family": "masked", "data": "data/tasks/gaps.jsonl"},
    "other": {"family": "causal", "data": "data/tasks/docstring.jsonl"},
}


@pytest.mark.parametrize(
    ("families", "masking", "derive", "tasks", "expected"),
    [
        (["causal"], PLAIN, GAPS, LEARNT, JUDGED),  # the case: nobody learns of gaps
        (["causal", "masked"], PLAIN, GAPS, LEARNT, ALL),
        (["causal", "masked"], PLAIN, {"docstring": {}}, {}, JUDGED),
        (["causal", "masked"], PLAIN | {"spans": 0.3}, {}, {}, ALL),
        (["masked"], PLAIN | {"weights_by_pos": {"NOUN": 2.0}}, {}, {}, ALL),
        (["causal", "seq2seq"], PLAIN | {"spans": 0.3}, {}, {}, JUDGED),  # whose masking is not built
        (["causal"], PLAIN, GAPS, {}, ALL),  # the user's own use
        (["causal"], PLAIN, GAPS, LEARNT | {"mine": {"family": "causal", "data": "data/tasks/gaps.jsonl"}}, ALL),
        (["causal"], PLAIN, None, None, JUDGED),
    ],
)
def test_who_reads(
    families: list[str], masking: dict, derive: dict | None, tasks: dict | None, expected: tuple[str, ...]
) -> None:
    assert splits_read(families, masking, derive, tasks) == expected
