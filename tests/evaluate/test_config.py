from dataclasses import replace

import pytest

from privllm.core.errors import UserError
from privllm.evaluate.config import SHORTEST, EvaluateConfig


@pytest.mark.parametrize(
    ("key", "least", "most"),
    [
        ("max_bytes", 1, None),
        ("batch_rows", 1, 1024),
        ("continuations", 0, None),
        ("prompt_tokens", 1, None),
        ("continuation_tokens", 8, None),
        ("samples", 0, None),
        ("sample_tokens", 1, None),
        ("temperature", 0, None),
        ("own_texts", 0, None),
        ("own_text_tokens", 16, None),
        ("bootstrap", 0, 100_000),
    ],
)
def test_limits(key: str, least: int, most: int | None) -> None:
    for value in (least, least if most is None else most):
        assert getattr(replace(EvaluateConfig(), **{key: value}), key) == value
    for value in (least - 1, *([] if most is None else [most + 1])):
        with pytest.raises(UserError, match="evaluate"):
            replace(EvaluateConfig(), **{key: value})


def test_a_continuation_is_no_shorter_than_what_is_compared() -> None:
    assert SHORTEST == 8
