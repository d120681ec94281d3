"""The parts of a mail: alternatives, attachments, and what its headers say."""

import pytest

from privllm.collect.mail_parts import header_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=?utf-8?q?T=C3=A9?= =?utf-8?b?IGFuZCBjYWtl?=", "Té and cake"),
        ("=?unknown?q?T=E9?=", "Té"),
        ("two\n lines", "two lines"),
        ("=?utf-8?b?!!!?=", ""),
    ],
)
def test_encoded_words_of_a_header(value: str, text: str) -> None:
    assert header_text(value) == text
