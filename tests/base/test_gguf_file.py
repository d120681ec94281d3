from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privllm.base.gguf_file import Opened, as_written, consistent, open_gguf, positive
from privllm.core.errors import UserError
from tests.base.gguf_changes import changed_model


def said(**values: Any) -> Opened:
    return Opened({f"llama.{key}": value for key, value in values.items()}, {}, "llama", "m.gguf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"values": {"general.architecture": "bloom"}},
            "architecture `bloom`, which the build cannot train: gemma2, gemma3, gpt2, llama, olmo2, phi3, qwen2, ",
        ),
        ({"values": {"split.count": 3}}, "one of 3 parts"),
        ({"without": "token_embd.weight"}, r"has no token_embd\.weight"),
    ],
)
def test_what_is_no_model_of_ours_is_refused(
    exported: Callable[..., Path], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        open_gguf(changed_model(exported(), tmp_path, **change))


def test_values_of_the_architecture() -> None:
    opened = said(block_count=2, head_count=[4, 2])
    assert (opened.value("block_count"), opened.count("block_count"), opened.count("other", 3)) == (2, 2, 3)
    assert opened.value_or("other", None) is None
    with pytest.raises(UserError, match=r"does not say llama\.other"):
        opened.count("other")
    with pytest.raises(UserError, match="has a head_count for each block"):
        opened.count("head_count", 4)


@pytest.mark.parametrize("number", [0, -1.0, float("inf"), float("nan"), "two"])
def test_a_number_that_is_not_positive_contradicts_the_rest(number: Any) -> None:
    with pytest.raises(UserError, match=r"m\.gguf contradicts itself"), consistent(Path("m.gguf")):
        positive(number, "epsilon")


def test_numbers_of_fp32_are_written_as_people_wrote_them() -> None:
    assert as_written(float(np.float32(1e-6))) == positive(float(np.float32(1e-6)), "epsilon") == 1e-6
    number = np.float32(1.0800000429153442)
    assert np.float32(as_written(number)) == number
