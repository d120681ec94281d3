from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.serve.auth import digest, new_token, owner, required, revoke_token
from privllm.serve.database import People


@pytest.fixture
def people(tmp_path: Path) -> People:
    return People(tmp_path / "people.sqlite")


def test_a_token_is_shown_once_and_kept_as_a_hash(people: People, tmp_path: Path) -> None:
    assert not required(people)
    token = new_token(people, "eva", 5)
    assert required(people)
    found = owner(people, f"Bearer {token}")
    assert found is not None
    assert (found.name, found.requests_per_minute, found.digest) == ("eva", 5, digest(token))
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert digest(token) in kept
    assert token.encode() not in kept


NOBODYS = [
    "",
    " ",
    "Bearer",
    "Bearer ",
    "Bearer \t ",
    "Basic {}",
    "{}",
    " {}",
    "Bearer {}x",
    "Bearer{}",
    "Bearer Bearer {}",
    "Bearer \udcff",
]


@pytest.mark.parametrize("header", NOBODYS)
def test_other_headers_are_nobodys(people: People, header: str) -> None:
    assert owner(people, header.format(new_token(people, "eva"))) is None


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_token_opens_for_its_own_name_alone(people: People, scheme: str) -> None:
    tokens = {name: new_token(people, name) for name in ("eva", "adam", "ida")}
    for name, token in tokens.items():
        found = owner(people, f"{scheme} {token} ")
        assert found is not None
        assert found.name == name
    revoke_token(people, "adam")
    assert [owner(people, f"Bearer {token}") is not None for token in tokens.values()] == [True, False, True]


def test_revoked_is_revoked_and_the_door_stays_shut(people: People) -> None:
    token = new_token(people, "eva")
    revoke_token(people, "eva")
    assert owner(people, f"Bearer {token}") is None
    assert required(people)
    with pytest.raises(UserError, match="no token named `eva` works"):
        revoke_token(people, "eva")
    with pytest.raises(UserError, match="take another"):
        new_token(people, "eva")


@pytest.mark.parametrize("name", ["", " eva", "a\nb", "x" * 65, "<b>"])
def test_odd_names_are_refused(people: People, name: str) -> None:
    with pytest.raises(UserError, match="cannot name a token"):
        new_token(people, name)
