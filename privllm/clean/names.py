"""Names of persons as placeholders: "Ada Lovelace met Bob; Ada left" -> "<PERSON_1> met <PERSON_2>; <PERSON_1> left".

The recogniser is the one that `annotate` uses by default, spaCy's en_core_web_sm, so only English texts are searched, and those
whose language is not known. A name has its number by its first appearance within a document: it says who is who there, and nothing about
another document. Addresses and organisations stay. A recogniser misses names: see docs/explain/privacy.md for how many.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any

from privllm.core.errors import UserError
from privllm.core.missing_library import not_installed
from privllm.nlp import packaged_model

OFF, REPLACE = "off", "replace"
NAMES = (OFF, REPLACE)
KEY = "clean.pii.names"
WANTED = f"`{KEY}` in params.yaml is {REPLACE}"
WITHOUT = f"Or set `{KEY}: {OFF}` to leave names where they are."
KIND = "PERSON"
LANGUAGES = ("", packaged_model.LANGUAGE)  # of texts that are searched
UNUSED = (
    "tok2vec",
    "tagger",
    "parser",
    "attribute_ruler",
    "lemmatizer",
    "senter",
)  # half of the time, and no name less
MIN_SURNAME = 4  # letters of a last word that is sought by itself
PIECE_CHARACTERS = 20_000  # of a text are searched at a time, which bounds the memory
_PLACEHOLDER = re.compile(r"<[A-Z][A-Z0-9_]{1,29}>")
_NAME = re.compile(
    r"[^\W_](?:.*?[^\W_])??(?=\.?(?:['\u2019]s)?[^\w.]*$)\.?"
)  # without the edges that are no part of it
_BREAK = re.compile(r"\n\n|\n|(?<=[.!?]) ")
Span = tuple[int, int]


def require_recogniser() -> None:
    """Raise UserError where spaCy or the pipeline is not installed, without loading them."""
    for module in ("spacy", packaged_model.NAME):
        if find_spec(module) is None:
            raise UserError(f"{WANTED}, but {not_installed(module)} {WITHOUT}")


@cache
def recogniser() -> Any:
    """Load the recogniser, once per process. Raises UserError where spaCy or the pipeline is not installed."""
    return packaged_model.load_packaged(UNUSED, WANTED, WITHOUT)


def replace_names(text: str, counts: Counter[str]) -> str:
    """Return `text` with a numbered placeholder for every name of a person; they are added to `counts` as PERSON."""
    spans = [span for start, piece in _pieces(text) for span in _found_in(piece, start)]
    names = {text[start:end] for start, end in spans}
    spans += _whole_names_in(text, names)
    pieces: list[str] = []
    done = 0
    numbers: dict[tuple[str, ...], int] = {}
    for start, end in sorted(set(spans), key=lambda span: (span[0], -span[1])):
        if start < done:
            continue
        number = _number_of(_words(text[start:end]), numbers)
        pieces += [text[done:start], f"<{KIND}_{number}>"]
        done = end
        counts[KIND] += 1
    return "".join([*pieces, text[done:]])


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Yield (start, piece): a text in pieces of at most `PIECE_CHARACTERS`, cut at paragraphs, lines or sentences if there are any."""
    start = 0
    while len(text) - start > PIECE_CHARACTERS:
        end = start + PIECE_CHARACTERS
        breaks = [match.end() for match in _BREAK.finditer(text, start + PIECE_CHARACTERS // 2, end)]
        end = breaks[-1] if breaks else end
        yield start, text[start:end]
        start = end
    yield start, text[start:]


def _found_in(piece: str, offset: int) -> Iterator[Span]:
    """Yield where the recogniser finds persons, without what is no part of a name, and outside placeholders."""
    for entity in recogniser()(piece).ents:
        if entity.label_ != KIND:
            continue
        start = offset + entity.start_char
        for line in _outside_placeholders(entity.text):
            name_start, name_end = start + line.start(), start + line.end()
            trimmed = _trimmed(piece[name_start - offset : name_end - offset])
            if trimmed is not None:
                yield name_start + trimmed[0], name_start + trimmed[1]


def _outside_placeholders(text: str) -> Iterator[re.Match[str]]:
    """Yield the parts of a text between line breaks and placeholders."""
    hidden = _PLACEHOLDER.sub(lambda match: "\n" * len(match[0]), text)
    return re.finditer(r"[^\n]+", hidden)


def _trimmed(name: str) -> Span | None:
    """Return where a name stands in what was found, without quotes, "'s" and the like; None where nothing is left of it."""
    name_itself = _NAME.search(name)
    if name_itself is None or not any(map(str.isalpha, name_itself[0])):
        return None
    return name_itself.span()


def _whole_names_in(text: str, names: set[str]) -> Iterator[Span]:
    """Yield every place of the names of several words, and of their last words: the recogniser may have missed it there."""
    sought: set[str] = set()
    for name in names:
        *first_words, last_word = name.split()
        if first_words:
            sought.add(name)
            if len(last_word) >= MIN_SURNAME and last_word[0].isupper():
                sought.add(last_word)
    if not sought:
        return
    longest_first = sorted(sought, key=lambda name: (-len(name), name))
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
    for match in pattern.finditer(text):
        yield match.span()


def _words(name: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[^\W_]+", name.casefold()))


def _number_of(words: tuple[str, ...], numbers: dict[tuple[str, ...], int]) -> int:
    """Return the number of a name, a new one if no name before is it, a part of it, or the only one that it is a part of.

    Adds the name to `numbers`.
    """
    if words not in numbers:
        same = {number for known, number in numbers.items() if set(words) <= set(known) or set(known) <= set(words)}
        numbers[words] = same.pop() if len(same) == 1 else 1 + max(numbers.values(), default=0)
    return numbers[words]
