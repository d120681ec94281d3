from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from privllm.base.safetensors_file import Entry, write_safetensors


def test_what_safetensors_reads_is_what_was_written(tmp_path: Path) -> None:
    matrix = np.arange(6, dtype=np.float16).reshape(2, 3)
    vector = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    numbers = [matrix.tobytes(), vector.view(torch.int16).numpy().tobytes()]
    entries = [Entry("b", "F16", (2, 3)), Entry("a", "BF16", (2,))]
    write_safetensors(tmp_path / "m.safetensors", entries, iter(numbers))
    loaded = load_file(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded["b"].numpy(), matrix)
    assert loaded["a"].dtype == torch.bfloat16
    assert loaded["a"].tolist() == vector.tolist()


def test_other_numbers_than_announced_are_our_mistake(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="other numbers"):
        write_safetensors(tmp_path / "m.safetensors", [Entry("a", "F32", (2,))], iter([b"1234"]))
