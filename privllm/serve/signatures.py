"""Signatures of replies, so that a rating can only be of what this server said.

    HMAC-SHA256(key, [reply's id, model's name, revision, digest, messages that the model was given] + reply)

Nothing said is stored: the client that was answered brings messages, reply and signature back. A reply
is signed piece by piece, since a person may stop it anywhere. The key is made as a server starts, for its
owner alone, in `.privllm`, which git ignores; without it old signatures are worth nothing.
"""

import hmac
import json
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from privllm.core.errors import UserError
from privllm.feedback.records import Message, Model

KEY_BYTES = 32


class Signer:
    """The server's key, which is read, or made, once it is needed."""

    def __init__(self, file: Path, model: Model) -> None:
        self._file = file
        self._model = model

    def open(self) -> None:
        """Read the key, or make it. Raises UserError where that cannot be done."""
        self._key  # noqa: B018

    def begin(self, identifier: str, messages: Sequence[Message]) -> "ReplySignature":
        """Return the signature of a reply of no text yet; `messages` are what the model was given."""
        plain_messages = [asdict(message) for message in messages]
        header = json.dumps([identifier, asdict(self._model), plain_messages])  # holds no line end
        return ReplySignature(hmac.new(self._key, header.encode() + b"\n", "sha256"))

    def verifies(self, signature: str, identifier: str, messages: Sequence[Message], reply: str) -> bool:
        """Return whether this is the signature of `reply`."""
        expected = self.begin(identifier, messages).add(reply)
        return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))

    @cached_property
    def _key(self) -> bytes:
        try:
            if not self._file.exists():
                _make_key(self._file)
            key = self._file.read_bytes()
        except OSError as error:
            raise UserError(f"{self._file}, which holds the key of ratings, cannot be used: {error}.") from error
        if len(key) != KEY_BYTES:
            raise UserError(f"{self._file} is no key of ratings: remove it, and a new one is made.")
        return key


class ReplySignature:
    """The signature of a reply as far as it has come."""

    def __init__(self, state: hmac.HMAC) -> None:
        self._state = state

    def add(self, text: str) -> str:
        """Add the reply's next piece; return the signature of all so far."""
        self._state.update(text.encode("utf-8", "surrogatepass"))
        return self._state.copy().hexdigest()


def _make_key(file: Path) -> None:
    """Write a new key, whole and for its owner alone, unless another process was first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as written:
            written.write(secrets.token_bytes(KEY_BYTES))
            written.flush()
            os.fsync(written.fileno())
        with suppress(FileExistsError):
            os.link(partial, file)
    finally:
        partial.unlink()
