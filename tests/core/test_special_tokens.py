import privllm.clean.pii as pii
from privllm.core.special_tokens import END_OF_TEXT, MARKS, PLACEHOLDER_KINDS, PLACEHOLDERS, SPECIAL_TOKENS


def test_ids_are_those_that_trained_weights_depend_on() -> None:
    assert [*SPECIAL_TOKENS, *PLACEHOLDERS].index("<|end|>") == 5
    assert [*SPECIAL_TOKENS, *PLACEHOLDERS].index("<EMAIL>") == 6
    assert (END_OF_TEXT, *MARKS) == tuple(range(len(SPECIAL_TOKENS)))


def test_every_kind_of_personal_data_but_ssn_has_a_token() -> None:
    assert set(pii.KINDS) - set(PLACEHOLDER_KINDS) == {"SSN"}
    assert set(PLACEHOLDER_KINDS) < set(pii.KINDS)
