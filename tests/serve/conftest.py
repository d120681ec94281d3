"""Fixtures; the models behind them are in `models`, which needs torch, and most of a server's tests do not."""

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.serve.axe import axe_program  # noqa: F401
from tests.serve.browsing import browser, page  # noqa: F401

WITH_TORCH = find_spec("torch") is not None
if WITH_TORCH:
    from tests.serve.models import built, export_inputs, exported, exported_masked, sentence_folder  # noqa: F401


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny matrices gain nothing from a second thread, and wait for it where other programs run."""
    if not WITH_TORCH:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
