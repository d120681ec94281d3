"""Answers in words that need no language model: what a tuned model must beat to be worth its training.

    copied input   what is asked (of a chat, the last question), up to COPIED characters
    lead-3         its first three sentences (of a question with a context, the context's): hard to beat for news (Nallapati et al. 2017)
    BM25 sentence  the sentence of the context that is most like the question (Robertson and Zaragoza 2009)

Sentences end with a full stop, an exclamation or question mark that is followed by a blank (in Chinese and Japanese by anything), or with a
line that ends a paragraph. Nothing is learnt.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

from privllm.tasks.chat_turns import USER
from privllm.tasks.formats import Chat, Content, InputOutput

COPIED_INPUT, LEAD, BM25 = "copied input", "lead-3", "BM25 sentence"
COPIED = 10_000  # characters of an input at most: the work of chrF grows with them
SENTENCES = 3
K1, B = 1.5, 0.75  # of BM25: how soon a repeated word stops to count, and how much a long sentence loses
END = re.compile(r"(?<=[.!?…][\"'”’)\]])\s+|(?<=[.!?…])\s+|(?<=[。！？])|\n\s*\n")
WORD = re.compile(r"[^\W_]+")


def text_baselines(contents: Sequence[Content]) -> dict[str, list[str]]:
    """Return {baseline: its answer to each}, of those that these inputs have something for."""
    answers = {COPIED_INPUT: [asked_of(content)[:COPIED] for content in contents]}
    passages = [sentences_of(passage_of(content)) for content in contents]
    if any(len(sentences) > SENTENCES for sentences in passages):
        answers[LEAD] = [" ".join(sentences[:SENTENCES]) for sentences in passages]
    questions = [question_of(content) for content in contents]
    if all(questions):
        pairs = zip(questions, passages, strict=True)
        answers[BM25] = [best_sentence(question, sentences) for question, sentences in pairs]
    return answers


def asked_of(content: Content) -> str:
    """Return what is asked: the input, or the last question of a chat."""
    match content:
        case InputOutput(asked, _):
            return asked
        case Chat(turns):
            return [text for role, text in turns if role == USER][-1]
    raise AssertionError("labels answer no question")


def question_of(content: Content) -> str:
    """Return the question that a context follows, "" where there is none."""
    return content.question if isinstance(content, InputOutput) else ""


def passage_of(content: Content) -> str:
    """Return what is asked, without the question that a context follows."""
    return asked_of(content).removeprefix(question_of(content)).strip()


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text."""
    return [sentence.strip() for sentence in END.split(text) if sentence.strip()]


def best_sentence(question: str, sentences: Sequence[str]) -> str:
    """Return the sentence with the highest BM25 for the question, the first of those; "" where there is none."""
    documents = [Counter(words_of(sentence)) for sentence in sentences]
    if not documents:
        return ""
    mean_length = sum(counts.total() for counts in documents) / len(documents) or 1.0
    frequency = Counter(word for counts in documents for word in counts)
    asked = words_of(question)
    best, best_score = 0, -1.0
    for place, counts in enumerate(documents):
        penalty = K1 * (1 - B + B * counts.total() / mean_length)
        score = 0.0
        for word in asked:
            rarity = math.log(1 + (len(documents) - frequency[word] + 0.5) / (frequency[word] + 0.5))
            score += rarity * counts[word] * (K1 + 1) / (counts[word] + penalty)
        if score > best_score:
            best, best_score = place, score
    return sentences[best]


def words_of(text: str) -> list[str]:
    """Return the runs of letters and digits, in lower case."""
    return WORD.findall(text.lower())
