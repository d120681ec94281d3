"""The entry point for text of documents and of feedback: normal form, then placeholders."""

from functools import partial

from privllm.clean.normalise import normalise
from privllm.clean.own_personal_data import personal_data, redact_own
from privllm.clean.pii import PiiConfig, redact
from privllm.engine.extensions import NO_EXTENSIONS, Extensions

NO_COUNTRIES = PiiConfig()


def clean_text(
    text: str, extensions: Extensions = NO_EXTENSIONS, pii: PiiConfig = NO_COUNTRIES
) -> tuple[str, dict[str, int]]:
    """Return `text` in normal form without personal data, and the placeholders by kind."""
    finders = personal_data(extensions)
    return redact(normalise(text), partial(redact_own, finders) if finders else None, pii.countries)
