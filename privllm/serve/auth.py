"""Access tokens: created here, shown once, stored as hashes.

A token is 256 random bits, so a fast hash without salt is enough (it cannot be guessed). Once a
token has been created every request needs one, even after the last was revoked. Rate limits are in
`limits`; tokens have names, but there are no user accounts.
"""

import hmac
import re
import secrets
from datetime import UTC, datetime
from hashlib import blake2b

from privllm.core.errors import UserError
from privllm.serve.database import AccessToken, AlreadyExists, Database

PREFIX = "privllm-"
NAME = re.compile(r"[\w.@ -]{1,64}")
REQUESTS_PER_MINUTE = 120
TOKENS_PER_MINUTE = 100_000  # of the model, read and written


def utc_now() -> str:
    """Return the time as ISO 8601, UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def hash_token(token: str) -> bytes:
    return blake2b(token.encode("utf-8", "surrogatepass"), digest_size=32).digest()


def new_token(
    database: Database,
    name: str,
    requests_per_minute: int = REQUESTS_PER_MINUTE,
    tokens_per_minute: int = TOKENS_PER_MINUTE,
) -> str:
    """Create a token for `name` and return it; only its hash is stored.

    Raises UserError where the name is in use or not allowed.
    """
    if not NAME.fullmatch(name) or name != name.strip():
        raise UserError(f"`{name}` cannot name a token: take up to 64 letters, digits, spaces and . _ - @.")
    token = PREFIX + secrets.token_urlsafe(32)
    record = AccessToken(name, hash_token(token), utc_now(), "", requests_per_minute, tokens_per_minute)
    try:
        database.add_token(record)
    except AlreadyExists:
        raise UserError(
            f"there is, or was, a token named `{name}`: ratings and votes stay under that name, so choose another name."
        ) from None
    return token


def revoke_token(database: Database, name: str) -> None:
    """Revoke the token of that name. Raises UserError where no valid one has it."""
    if not database.revoke(name, utc_now()):
        raise UserError(f"no token named `{name}` works; `privllm token list` shows them.")


def tokens_required(database: Database) -> bool:
    """Return whether a token was ever created."""
    return bool(database.tokens())


def find_token(database: Database, header: str) -> AccessToken | None:
    """Return the token in an Authorization header ("Bearer ..."), or None without a valid one.

    All stored hashes are compared, each in constant time.
    """
    scheme, _, credentials = header.partition(" ")
    digest = hash_token(credentials.strip())
    match = None
    for token in database.tokens():
        if hmac.compare_digest(token.digest, digest) and not token.revoked:
            match = token
    return match if scheme.lower() == "bearer" else None
