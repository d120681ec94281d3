"""Who may use the server: access tokens, made here, shown once, kept as hashes.

A token is 256 random bits, so a fast hash without salt is enough (there is nothing to guess). Once a token was made, every call
needs one, also after the last was revoked. It limits nothing (see `limits`), and knows no people, only the names of tokens.
"""

import hmac
import re
import secrets
from datetime import UTC, datetime
from hashlib import blake2b

from privllm.core.errors import UserError
from privllm.serve.database import People, Taken, Token

PREFIX = "privllm-"
NAME = re.compile(r"[\w.@ -]{1,64}")
REQUESTS_PER_MINUTE = 120
TOKENS_PER_MINUTE = 100_000  # of the model: what is read and what is written


def now() -> str:
    """ISO 8601, UTC, seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def digest(token: str) -> bytes:
    return blake2b(token.encode("utf-8", "surrogatepass"), digest_size=32).digest()


def new_token(people: People, name: str, requests_per_minute: int = REQUESTS_PER_MINUTE, tokens_per_minute: int = TOKENS_PER_MINUTE) -> str:
    """A fresh token for `name`; only its hash is kept. Raises UserError where the name is taken or odd."""
    if not NAME.fullmatch(name) or name != name.strip():
        raise UserError(f"`{name}` cannot name a token: take up to 64 letters, digits, spaces and . _ - @.")
    token = PREFIX + secrets.token_urlsafe(32)
    try:
        people.add_token(Token(name, digest(token), now(), "", requests_per_minute, tokens_per_minute))
    except Taken:
        raise UserError(f"there is, or was, a token named `{name}`: names stay with what their people wrote, so take another.") from None
    return token


def revoke_token(people: People, name: str) -> None:
    """Raises UserError where no token of that name works."""
    if not people.revoke(name, now()):
        raise UserError(f"no token named `{name}` works; `privllm token list` shows them.")


def required(people: People) -> bool:
    """Was a token ever made?"""
    return bool(people.tokens())


def owner(people: People, header: str) -> Token | None:
    """Whose token an Authorization header ("Bearer ...") carries; None where it carries none that works.

    The stored hashes are compared in constant time, all of them.
    """
    scheme, _, given = header.partition(" ")
    sought, found = digest(given.strip()), None
    for token in people.tokens():
        if hmac.compare_digest(token.digest, sought) and not token.revoked:
            found = token
    return found if scheme.lower() == "bearer" else None
