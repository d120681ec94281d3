"""Parts of speech, dependencies and named entities of one text, by spaCy, as spans beside it.

    "Ada wrote." -> token_start [0, 4, 9]  pos [PROPN, VERB, PUNCT]  head [1, 1, 1]  entity_label [PERSON] ...

The text is never changed. White space that is no single space between words is a token too, tagged SPACE. Each text goes
through the pipeline alone: batches were no faster and would let one text's company into its floating-point sums.
spaCy: Honnibal et al. 2020; labels are Universal POS tags, ClearNLP dependencies, OntoNotes 5 entities.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from privllm.core.errors import UserError
from privllm.core.missing_library import missing_library
from privllm.engine.tracked_folder import TrackedFolder
from privllm.nlp import packaged_model

KEY = "annotate.models"
ANY_LANGUAGE = "xx"  # what spaCy calls the language of a pipeline for all
UNUSED = ("lemmatizer", "senter")  # a third of the time
WITHOUT = "Or set `annotate.limit: 0` to go without annotations."
WRITTEN = {"POS": "parts of speech", "DEP": "dependencies", "ENT_IOB": "entities"}


@dataclass(frozen=True)
class Pipeline:
    """A spaCy pipeline that params.yaml names."""

    location: str  # the packaged one's name, or a folder
    language: str  # ISO 639-1, "" for all
    files: tuple[tuple[str, Path], ...] = ()  # of a folder: (name below it, path), for results depend on their content


def pipelines_of(models: Sequence[str], base: Path) -> list[Pipeline]:
    """Return the pipelines of `annotate.models`, in that order.

    Raises UserError where one is not below `base`, or is no pipeline, or two are for one language.
    """
    pipelines: dict[str, Pipeline] = {}
    for model in models:
        if model == packaged_model.NAME:
            pipeline = Pipeline(model, packaged_model.LANGUAGE)
        else:
            own = own_pipeline(model, base)
            pipeline = Pipeline(str(own.folder), language_of(own), tuple(own.files()))
        if pipeline.language in pipelines:
            raise UserError(
                f"`{KEY}` in params.yaml: {pipelines[pipeline.language].location} and {pipeline.location} are both for "
                f"{_name_of(pipeline.language)}; name one of them."
            )
        pipelines[pipeline.language] = pipeline
    return list(pipelines.values())


def pipeline_for(language: str, pipelines: Sequence[Pipeline]) -> Pipeline:
    """Return the pipeline for a text: of its language, else for all, else the first, for a text whose language is unknown."""
    by_language = {pipeline.language: pipeline for pipeline in pipelines}
    return by_language.get(language) or by_language.get("") or pipelines[0]


def _name_of(language: str) -> str:
    return f"the language `{language}`" if language else "all languages"


def own_pipeline(model: str, base: Path) -> TrackedFolder:
    """Return the folder of a pipeline `data/base/<name>`. Raises UserError where it is not there, or no pipeline."""
    folder = TrackedFolder(KEY, base / Path(model).name, base)
    folder.require_folder()
    for name in ("config.cfg", "meta.json"):
        if folder.path(name) is None:
            raise folder.error(
                f"{folder.folder} holds no {name}, so it is no spaCy pipeline (`nlp.to_disk` writes one)"
            )
    return folder


def language_of(meta: TrackedFolder) -> str:
    """Return the ISO 639-1 code of the language that a pipeline is for, "" for all."""
    language = meta.json("meta.json").get("lang")
    if not isinstance(language, str) or not language:
        raise meta.error(f"{meta.folder / 'meta.json'} names no `lang`, the language that the pipeline is for")
    return "" if language == ANY_LANGUAGE else language


@cache
def load(location: str) -> Any:
    """Load a spaCy pipeline, once per process: the packaged one by its name, or one in a folder.

    Raises UserError where spaCy or the packaged pipeline is not installed, where that is not the recorded one, or where
    a pipeline does not write what ANNOTATIONS holds.
    """
    wanted = f"`{KEY}` in params.yaml names {location}"
    if location == packaged_model.NAME:
        return packaged_model.load_packaged(UNUSED, wanted, WITHOUT)
    try:
        import spacy
    except ImportError as error:
        raise UserError(f"{wanted}, but {missing_library(error) or error} {WITHOUT}") from error
    return _own(spacy, location)


def _own(spacy: Any, location: str) -> Any:
    """Load a pipeline of the user's own."""
    try:
        loaded = spacy.load(Path(location), exclude=UNUSED)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"`{KEY}` in params.yaml: spaCy cannot load {location}: {error}") from error
    probe = loaded("Ada wrote.")
    lacking = [words for attribute, words in WRITTEN.items() if not probe.has_annotation(attribute)]
    if lacking:
        raise UserError(
            f"`{KEY}` in params.yaml: the pipeline {location} gives no {' and no '.join(lacking)}: take one with a tagger, "
            "a parser and an entity recogniser."
        )
    return loaded


def head_of(text: str, characters: int) -> str:
    """Return the first `characters` of a text at most, cut at white space where there is any."""
    if len(text) <= characters:
        return text
    ends_with_word = text[characters].isspace()
    words_and_last = text[: characters + 1].rstrip().rsplit(None, 1)
    if ends_with_word or len(words_and_last) < 2:
        return text[:characters].rstrip()
    return words_and_last[0]


def annotate_text(location: str, text: str) -> dict[str, list]:
    """Return the columns of ANNOTATIONS but the id; offsets in code points of `text`."""
    annotate = load(location)
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
