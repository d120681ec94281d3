"""The entry point for text of documents and of feedback: normal form, then placeholders."""

from collections import Counter
from functools import partial

from privllm.clean import names
from privllm.clean.language import detect
from privllm.clean.normalise import normalise
from privllm.clean.own_personal_data import personal_data, redact_own
from privllm.clean.pii import PiiConfig, redact
from privllm.engine.extensions import NO_EXTENSIONS, Extensions

WITHOUT_NAMES = PiiConfig()


def clean_text(
    text: str, extensions: Extensions = NO_EXTENSIONS, pii: PiiConfig = WITHOUT_NAMES
) -> tuple[str, dict[str, int]]:
    """Return `text` in normal form without personal data, and the placeholders by kind."""
    finders = personal_data(extensions)
    text, placeholders = redact(normalise(text), partial(redact_own, finders) if finders else None, pii.countries)
    if pii.names == names.REPLACE and detect(text)[0] in names.LANGUAGES:
        counts = Counter(placeholders)
        text = names.replace_names(text, counts)
        placeholders = dict(sorted(counts.items()))
    return text, placeholders
