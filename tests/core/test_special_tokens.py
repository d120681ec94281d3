import privllm.clean.pii as pii
from privllm.core.special_tokens import PLACEHOLDER_KINDS, PLACEHOLDERS, SPECIAL_TOKENS, own_ids


def test_ids_are_those_that_trained_weights_depend_on() -> None:
    assert [*SPECIAL_TOKENS, *PLACEHOLDERS].index("<|end|>") == 5
    assert [*SPECIAL_TOKENS, *PLACEHOLDERS].index("<EMAIL>") == 6
    ids = own_ids(4096)
    assert (ids.begin, ids.end, ids.pad, ids.mask) == (0, 0, 1, 2)
    assert ids.never_written((0, 5)) == (1, 2, 3, 4)


def test_every_kind_of_personal_data_but_ssn_has_a_token() -> None:
    assert set(pii.KINDS) - set(PLACEHOLDER_KINDS) == {"SSN"}
    assert set(PLACEHOLDER_KINDS) < set(pii.KINDS)
