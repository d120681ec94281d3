"""Examples of the kind tokens: sentences and the parts of speech of their words, from annotations.

    "Return the list." -> {"tokens": ["Return", null, "list", "."], "labels": ["O", "B-DET", "O", "O"]}      hidden: 0.2
                          {"tokens": ["Return", "the", "list", "."], "labels": ["B-VERB", "B-DET", "B-NOUN", "O"]}    hidden: 0

A sentence is all tokens with one root. Where words are hidden, only the rest of the sentence can tell
what they are. Which words are hidden is a function of the sentence alone, so a sentence that occurs
in many documents is one example. White space is not a word; punctuation and symbols have no label and
are never hidden. Annotations are read here, not made.
"""

from privllm.core.bio_labels import OUTSIDE
from privllm.core.seed import name_digest
from privllm.tasks.config import JsonLine, PlacedExample

UNLABELLED = {"PUNCT", "SYM", "SPACE", "X"}


def examples_of_grammar(hidden: float, text: str, annotation: JsonLine) -> list[PlacedExample]:
    """Return (number of the sentence, fields of the example) for the sentences of one document.

    `annotation` is the document's row of ANNOTATIONS, and `hidden` the share of words to hide.
    """
    offsets = zip(annotation["token_start"], annotation["token_end"], strict=True)
    words = [text[start:end] for start, end in offsets]
    tags = annotation["pos"]
    examples = []
    for number, sentence in enumerate(sentences_of(annotation["head"])):
        places = [place for place in sentence if words[place].strip()]
        example = _example(hidden, [words[place] for place in places], [tags[place] for place in places])
        if example:
            examples.append((number, example))
    return examples


def sentences_of(heads: list[int]) -> list[list[int]]:
    """Return the places of the tokens of each sentence.

    `heads` has the place of each token's head; a root is its own head.
    """
    sentences: list[list[int]] = []
    previous_root = -1
    for place in range(len(heads)):
        root = place
        while heads[root] != root:
            root = heads[root]
        if root != previous_root:
            sentences.append([])
        sentences[-1].append(place)
        previous_root = root
    return sentences


def _example(hidden: float, words: list[str], tags: list[str]) -> JsonLine | None:
    """Return the fields of an example; None where no word has a label."""
    labelled = [place for place, tag in enumerate(tags) if _has_label(words[place], tag)]
    if hidden and labelled:
        sentence = " ".join(words)
        by_hash = sorted(labelled, key=lambda place: name_digest(sentence, place))
        labelled = by_hash[: max(1, round(hidden * len(by_hash)))]
    if not labelled:
        return None
    tokens: list[str | None] = list(words)
    labels = [OUTSIDE] * len(words)
    for place in labelled:
        labels[place] = f"B-{tags[place]}"
        if hidden:
            tokens[place] = None
    return {"tokens": tokens, "labels": labels}


def _has_label(word: str, tag: str) -> bool:
    return tag not in UNLABELLED and any(map(str.isalnum, word))
