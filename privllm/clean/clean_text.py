"""The entry point for text of documents and of feedback: normal form, then placeholders."""

from privllm.clean.normalise import normalise
from privllm.clean.pii import redact


def clean_text(text: str) -> tuple[str, dict[str, int]]:
    """Return `text` in normal form without personal data, and the placeholders by kind."""
    return redact(normalise(text))
