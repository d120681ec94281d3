"""A kept vocabulary that has aged is named with both figures and the command that helps."""

from privllm.core.vocabulary_fit import misfit

AGED = {"fits": False, "new_documents": 1200, "new_bytes_per_token": 2.5, "learnt_bytes_per_token": 4.25}


def test_a_bad_fit_has_both_figures_and_a_way_out() -> None:
    words = misfit(AGED)
    assert words is not None
    assert "1,200 new documents of its sample badly, with 2.50 bytes a token where it was learnt on 4.25" in words
    assert "`privllm vocabulary drop`" in words


def test_of_a_good_fit_and_of_a_learnt_vocabulary_nothing_is_said() -> None:
    assert misfit(AGED | {"fits": True}) is None
    assert misfit({}) is None
