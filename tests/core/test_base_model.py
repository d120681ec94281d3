import pytest

from privllm.core.base_model import require_start
from privllm.core.errors import UserError


@pytest.mark.parametrize("value", ["scratch", "incumbent", "data/base/smollm2", "data/base/a.b-c_d"])
def test_where_training_may_begin(value: str) -> None:
    require_start(value, "start")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Scratch",
        "data/base",
        "data/base/",
        "data/base/..",
        "data/base/.hidden",
        "data/base/a/b",
        "/models/x",
        "a/b",
    ],
)
def test_anywhere_else_names_the_key_and_how_to_bring_it_in(value: str) -> None:
    with pytest.raises(UserError, match=r"`pretrain.causal.start`.*dvc add data/base/<name>"):
        require_start(value, "pretrain.causal.start")
