from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.serve.auth import find_token, hash_token, new_token, revoke_token, tokens_required
from privllm.serve.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "people.sqlite")


def test_a_token_is_shown_once_and_kept_as_a_hash(database: Database, tmp_path: Path) -> None:
    assert not tokens_required(database)
    token = new_token(database, "eva", 5)
    assert tokens_required(database)
    found = find_token(database, f"Bearer {token}")
    assert found is not None
    assert (found.name, found.requests_per_minute, found.digest) == ("eva", 5, hash_token(token))
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert hash_token(token) in kept
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
def test_other_headers_are_nobodys(database: Database, header: str) -> None:
    assert find_token(database, header.format(new_token(database, "eva"))) is None


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_token_opens_for_its_own_name_alone(database: Database, scheme: str) -> None:
    tokens = {name: new_token(database, name) for name in ("eva", "adam", "ida")}
    for name, token in tokens.items():
        found = find_token(database, f"{scheme} {token} ")
        assert found is not None
        assert found.name == name
    revoke_token(database, "adam")
    assert [find_token(database, f"Bearer {token}") is not None for token in tokens.values()] == [True, False, True]


def test_revoked_is_revoked_and_the_door_stays_shut(database: Database) -> None:
    token = new_token(database, "eva")
    revoke_token(database, "eva")
    assert find_token(database, f"Bearer {token}") is None
    assert tokens_required(database)
    with pytest.raises(UserError, match="no token named `eva` works"):
        revoke_token(database, "eva")
    with pytest.raises(UserError, match="choose another name"):
        new_token(database, "eva")


@pytest.mark.parametrize("name", ["", " eva", "a\nb", "x" * 65, "<b>"])
def test_odd_names_are_refused(database: Database, name: str) -> None:
    with pytest.raises(UserError, match="cannot name a token"):
        new_token(database, name)
