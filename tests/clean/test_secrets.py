"""Secrets are told from what merely stands where one would."""

from collections import Counter

import pytest

from privllm.clean.secrets import looks_random, redact_secrets


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ('passphrase: "correct horse battery staple"', 'passphrase: "<CREDENTIAL>"'),
        ("password='two words', user='bob'", "password='<CREDENTIAL>', user='bob'"),
        ("password: the one that you chose", "password: the one that you chose"),
        ("password = getpass()", "password = getpass()"),
        ('token = "abc"', 'token = "abc"'),
        ("password=None, timeout=3", "password=None, timeout=3"),
        # Without the name of a header before it.
        ("send Bearer abc123def456ghi789 with it", "send Bearer <CREDENTIAL> with it"),
        ("-H 'bearer mF_9.B5f-4.1JqM~x/y+z=='", "-H 'bearer <CREDENTIAL>'"),
        ("the bearer abcdefghijklmnopqrstuvwxyz of it", "the bearer abcdefghijklmnopqrstuvwxyz of it"),
        ("Bearer abc123def456gh", "Bearer abc123def456gh"),
        ("the forbearer abc123def456ghi789", "the forbearer abc123def456ghi789"),
    ],
)
def test_values(text: str, clean: str) -> None:
    counts: Counter[str] = Counter()
    assert redact_secrets(text, counts) == clean
    assert sum(counts.values()) == (text != clean)


def test_random_means_long_mixed_and_of_high_entropy() -> None:
    assert looks_random("x7Kq2mPz9LdW4vTb")
    assert not looks_random("x7Kq2mPz")
    assert not looks_random("correcthorsebattery")
    assert not looks_random("aaaaaaaaaaaaaaaa1111")
