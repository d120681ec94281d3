"""The one door for words of people, whether they come in a document or as feedback: normal form, then personal data to placeholders."""

from privllm.clean.normalise import normalise
from privllm.clean.pii import redact


def tidy(text: str) -> tuple[str, dict[str, int]]:
    """`text` as it may be kept, and how many placeholders of each kind went in."""
    return redact(normalise(text))
