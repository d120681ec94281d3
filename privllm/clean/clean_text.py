"""The single entry point for text of people, in documents and in feedback: normal form, then placeholders for personal data."""

from privllm.clean.normalise import normalise
from privllm.clean.pii import redact


def clean_text(text: str) -> tuple[str, dict[str, int]]:
    """Return `text` in normal form without personal data, and the number of placeholders of each kind."""
    return redact(normalise(text))
