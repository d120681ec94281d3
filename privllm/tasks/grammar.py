"""Sentences and the parts of speech of their words, as `annotate` found them: examples of the kind tokens.

    "Return the list." -> {"tokens": ["Return", null, "list", "."], "labels": ["O", "B-DET", "O", "O"]}      hidden: 0.2
                          {"tokens": ["Return", "the", "list", "."], "labels": ["B-VERB", "B-DET", "B-NOUN", "O"]}    hidden: 0

A sentence is what hangs on one root. Where words are hidden, only the rest of the sentence can tell what they are. Which words those are
is a function of the sentence alone, so a sentence that stands in many documents is one example. White space is no word; marks and
symbols have no label and are never hidden. It reads annotations and makes none.
"""

from typing import Any

from privllm.core.bio_labels import OUTSIDE
from privllm.core.seed import name_digest

UNLABELLED = {"PUNCT", "SYM", "SPACE", "X"}

JsonLine = dict[str, Any]


def examples_of_grammar(hidden: float, text: str, annotation: JsonLine) -> list[tuple[int, JsonLine]]:
    """(number of the sentence, the example's own part of its line) of one annotated document; `annotation` is its row of ANNOTATIONS."""
    words = [text[start:end] for start, end in zip(annotation["token_start"], annotation["token_end"], strict=True)]
    made = []
    for number, sentence in enumerate(sentences_of(annotation["head"])):
        places = [place for place in sentence if words[place].strip()]
        example = _example(hidden, [words[place] for place in places], [annotation["pos"][place] for place in places])
        if example:
            made.append((number, example))
    return made


def sentences_of(heads: list[int]) -> list[list[int]]:
    """Places of the tokens of each sentence; `heads` has the place of each token's head, a root's is its own."""
    sentences: list[list[int]] = []
    before = -1
    for place in range(len(heads)):
        root = place
        while heads[root] != root:
            root = heads[root]
        if root != before:
            sentences.append([])
        sentences[-1].append(place)
        before = root
    return sentences


def _example(hidden: float, words: list[str], tags: list[str]) -> JsonLine | None:
    """None where no word has a label."""
    labelled = [place for place, tag in enumerate(tags) if tag not in UNLABELLED and any(map(str.isalnum, words[place]))]
    if hidden and labelled:
        sentence = " ".join(words)
        lots = sorted(labelled, key=lambda place: name_digest(sentence, place))
        labelled = lots[: max(1, round(hidden * len(lots)))]
    if not labelled:
        return None
    asked = set(labelled)
    tokens = [None if hidden and place in asked else word for place, word in enumerate(words)]
    return {"tokens": tokens, "labels": [f"B-{tag}" if place in asked else OUTSIDE for place, tag in enumerate(tags)]}
