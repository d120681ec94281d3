"""What a server signed is what it said, and nothing else."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.feedback.records import Message, Model
from privllm.serve.signatures import Signer

MODEL = Model("m", "r", "d")
SAID = (Message("system", "be brief"), Message("user", "naïve? \ud800"))


def test_a_reply_is_signed_as_far_as_it_has_come(tmp_path: Path) -> None:
    signer = Signer(tmp_path / "key", MODEL)
    reply = signer.begin("chatcmpl-1", SAID)
    signatures = [reply.add(piece) for piece in ("", "one ", "two\n", "\ud83d")]
    assert len(set(signatures)) == 4
    for signature, text in zip(signatures, ("", "one ", "one two\n", "one two\n\ud83d"), strict=True):
        assert signer.verifies(signature, "chatcmpl-1", SAID, text)
        assert Signer(tmp_path / "key", MODEL).verifies(signature, "chatcmpl-1", SAID, text)  # after a restart


def test_nothing_else_is_signed_by_it(tmp_path: Path) -> None:
    signer = Signer(tmp_path / "key", MODEL)
    signature = signer.begin("chatcmpl-1", SAID).add("one two")
    others = [
        (signature, "chatcmpl-1", SAID, "one two three"),
        (signature, "chatcmpl-1", SAID, "one"),
        (signature, "chatcmpl-2", SAID, "one two"),
        (signature, "chatcmpl-1", SAID[1:], "one two"),
        (signature, "chatcmpl-1", (replace(SAID[0], role="user"), SAID[1]), "one two"),
        (signature[:-1], "chatcmpl-1", SAID, "one two"),
        ("", "chatcmpl-1", SAID, "one two"),
        ("é" * 64, "chatcmpl-1", SAID, "one two"),
    ]
    assert not any(signer.verifies(*claim) for claim in others)
    for model in (Model("n", "r", "d"), Model("m", "s", "d"), Model("m", "r", "e")):
        assert not Signer(tmp_path / "key", model).verifies(signature, "chatcmpl-1", SAID, "one two")
    (tmp_path / "key").unlink()
    assert not Signer(tmp_path / "key", MODEL).verifies(signature, "chatcmpl-1", SAID, "one two")


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        signers = [Signer(tmp_path / "new/key", MODEL) for _ in range(8)]
        assert not (tmp_path / "new").exists()  # nobody has asked for a signature yet
        with ThreadPoolExecutor(8) as pool:
            signatures = set(pool.map(lambda signer: signer.begin("i", SAID).add("x"), signers))
    finally:
        os.umask(previous)
    assert len(signatures) == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["key"]
    assert (tmp_path / "new/key").stat().st_mode & 0o777 == 0o600
    assert len((tmp_path / "new/key").read_bytes()) == 32


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_what_is_no_key_is_explained(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(UserError, match="is no key of ratings: remove it"):
        Signer(tmp_path / "key", MODEL).begin("i", SAID)
    with pytest.raises(UserError, match="cannot be used"):
        Signer(tmp_path / "key" / "below", MODEL).begin("i", SAID)
