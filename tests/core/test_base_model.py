import pytest

from privllm.core.base_model import Start, require_start, starts_in
from privllm.core.errors import UserError
from privllm.core.params import WrongValue


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
    with pytest.raises(UserError, match=r"`base.causal`.*privllm base add MODEL"):
        require_start(value, "base.causal")


def test_one_place_is_shared_by_all_families_and_the_vocabulary() -> None:
    assert starts_in({}, ["causal"]) == dict.fromkeys(("causal", "tokenizer"), Start("scratch", "base", True))
    assert starts_in({"base": "data/base/a"}, ["causal", "masked"]) == dict.fromkeys(
        ("causal", "masked", "tokenizer"), Start("data/base/a", "base", True)
    )


def test_places_by_name_are_each_familys_own_and_the_only_model_gives_the_vocabulary() -> None:
    assert starts_in({"base": {"causal": "incumbent"}}, ["causal", "masked"]) == {
        "causal": Start("incumbent", "base.causal"),
        "masked": Start("scratch", "base.masked"),
        "tokenizer": Start("incumbent", "base"),
    }
    several = {"causal": "incumbent", "masked": "data/base/a"}
    with pytest.raises(WrongValue, match="names several models"):
        starts_in({"base": several}, ["causal", "masked"])
    assert starts_in({"base": several | {"tokenizer": "incumbent"}}, ["causal", "masked"])["tokenizer"] == Start(
        "incumbent", "base.tokenizer"
    )
