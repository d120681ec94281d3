import pytest

from privllm.core.families import TRAITS, families_of


@pytest.mark.parametrize("name", TRAITS)
def test_a_family_is_named_as_its_traits_are_and_learns_something(name: str) -> None:
    assert TRAITS[name].name == name
    assert TRAITS[name].model_types
    assert TRAITS[name].task_kinds


def test_no_architecture_is_of_two_families() -> None:
    model_types = [model_type for traits in TRAITS.values() for model_type in traits.model_types]
    assert len(set(model_types)) == len(model_types)


def test_only_a_family_that_continues_text_converses() -> None:
    assert all(traits.continues_text for traits in TRAITS.values() if traits.can_converse)
    assert families_of("chat") == [name for name, traits in TRAITS.items() if traits.can_converse]
