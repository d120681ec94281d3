import torch
from hypothesis import given
from hypothesis import strategies as st

from privllm.train.spelling_parts import SpellingParts, parts_of

WIDTH = 3


def test_the_parts_of_a_word():
    assert parts_of(b" Walk") == {
        "space True",
        "case capital",
        "word walk",
        *("begins w", "begins wa", "begins wal", "begins walk"),
        *("ends k", "ends lk", "ends alk", "ends walk"),
        *("has <wa", "has wal", "has alk", "has lk>"),
    }


def test_words_that_are_written_alike_share_what_is_alike():
    walk, shout, cyrillic = parts_of(b"walk"), parts_of(b" WALK"), parts_of("Ходит".encode())
    assert walk ^ shout == {"space True", "space False", "case lower", "case upper"}
    assert parts_of("ХОДИТ".encode()) ^ cyrillic == {"case upper", "case capital"}
    assert parts_of(b"7") >= {"case digit", "word 7"}
    assert parts_of(b"\n\n") == {"space True", "case other", "word "}
    assert parts_of(b"") == {"space False", "case other", "word "}


def test_bytes_that_are_no_whole_character_count_one_by_one():
    begun = "中".encode()[:2]
    assert parts_of(begun) & parts_of(begun[:1]) >= {"begins \udce4"}


def dense(spelling: dict[int, bytes], size: int, special: set[int]) -> torch.Tensor:
    """The slow way: the whole matrix [tokens, parts], part after part."""
    parts = {token: parts_of(text) for token, text in spelling.items() if token not in special}
    names = sorted(set().union(*parts.values()))
    shared = [name for name in names if sum(name in own for own in parts.values()) > 1]
    matrix = torch.tensor([[float(name in parts.get(token, ())) for name in shared] for token in range(size)])
    matrix = matrix.reshape(size, len(shared))
    return matrix / matrix.sum(1, keepdim=True).clamp_min(1).sqrt()


@given(st.lists(st.binary(max_size=5) | st.text("ab A中", max_size=5).map(str.encode), max_size=8), st.integers(0, 3))
def test_both_products_are_those_of_the_whole_matrix(texts, more):
    spelling = dict(enumerate(texts))
    size = len(texts) + more
    special = {1} & spelling.keys()
    parts = SpellingParts(spelling, size, special)
    matrix = dense(spelling, size, special)
    assert parts.count == matrix.shape[1]
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(size, WIDTH, generator=generator)
    changes = torch.randn(parts.count, WIDTH, generator=generator)
    assert torch.allclose(parts.gathered(gradient), matrix.T @ gradient, atol=1e-5)
    assert torch.allclose(parts.spread(changes), matrix @ changes, atol=1e-5)


def test_special_tokens_and_those_that_share_nothing_stay_alone():
    parts = SpellingParts({0: b"<|end|>", 1: b"end", 2: b"ending", 4: b" 7"}, 5, special=[0])
    moved = parts.spread(torch.ones(parts.count, WIDTH)).abs().sum(1)
    assert (moved > 0).tolist() == [False, True, True, False, False]  # row 3 is of no token
