"""Answers to held-out examples that need no language model, for tasks of labels: what a tuned model must beat to be worth its training.

    majority    the commonest class
    TF-IDF      words and pairs of words, weighted by how rare they are, and a logistic regression (scikit-learn)
    word form   the commonest label of each word; of words that training does not have, of all words

Each learns from the examples that the model learns from. Ties go to the label that comes first in the alphabet.
"""

from collections import Counter
from collections.abc import Sequence

from privllm.core.bio_labels import OUTSIDE
from privllm.core.missing_library import installed
from privllm.tasks.formats import Classified, Example, Tagged

MAJORITY, TFIDF, WORD_FORM = "majority", "TF-IDF + logistic regression", "commonest label of each word"
LIBRARY = "sklearn"
NOT_INSTALLED = "scikit-learn is not installed: pip install 'privllm[baselines]'"
PAIRS = (1, 2)  # words, and pairs of them
STRENGTH = 10.0  # inverse of the regularisation; at scikit-learn's 1 the regression learns too little from a few thousand short texts
ITERATIONS = 1000


class NotComputed(Exception):
    """A baseline that could not be computed here; the message says why."""


def majority(train: Sequence[Example], test: Sequence[Example]) -> list[str]:
    """Return the commonest class of `train` for each example of `test`."""
    labels = Counter(label for _, label in map(_text_and_label, train))
    return [_commonest(labels)] * len(test)


def tfidf(train: Sequence[Example], test: Sequence[Example]) -> list[str]:
    """Return the class of each example of `test` by a logistic regression on TF-IDF.

    Raises NotComputed where scikit-learn is not installed, and where no text has a word.
    """
    if not installed(LIBRARY):
        raise NotComputed(NOT_INSTALLED)
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    texts, labels = zip(*map(_text_and_label, train), strict=True)
    asked = [text for text, _ in map(_text_and_label, test)]
    vectorizer = TfidfVectorizer(ngram_range=PAIRS, sublinear_tf=True)
    classifier = LogisticRegression(C=STRENGTH, max_iter=ITERATIONS)
    with threadpool_limits(1):  # sums of several threads differ in their last digits
        try:
            features = vectorizer.fit_transform(texts)
        except ValueError as error:
            raise NotComputed(f"no text has a word of two letters ({error})") from None
        classifier.fit(features, labels)
        return [str(label) for label in classifier.predict(vectorizer.transform(asked))]


def word_form(train: Sequence[Example], test: Sequence[Example]) -> list[list[str]]:
    """Return the label of each word by its form alone; a hidden word is a form, too."""
    of_form: dict[str | None, Counter[str]] = {}
    of_all: Counter[str] = Counter()
    for example in train:
        content = _tagged(example)
        for place in content.asked():
            label = content.labels[place]
            of_form.setdefault(content.tokens[place], Counter())[label] += 1
            of_all[label] += 1
    label_of = {form: _commonest(counts) for form, counts in of_form.items()}
    otherwise = _commonest(of_all)
    answers = []
    for example in test:
        content = _tagged(example)
        labels = [OUTSIDE] * len(content.tokens)
        for place in content.asked():
            labels[place] = label_of.get(content.tokens[place], otherwise)
        answers.append(labels)
    return answers


def _commonest(counts: Counter[str]) -> str:
    return max(sorted(counts), key=lambda label: counts[label])


def _text_and_label(example: Example) -> tuple[str, str]:
    content = example.content
    assert isinstance(content, Classified)
    return content.text, content.label


def _tagged(example: Example) -> Tagged:
    content = example.content
    assert isinstance(content, Tagged)
    return content
