"""A tuned model beside answers that need no model, on the same held-out examples and by the same scores.

Loss is no score of theirs, so texts are judged by ROUGE-L, and answers to a question with its context by word F1.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from privllm.stats.difference import LEAST_GROUPS, Difference, difference
from privllm.stats.scores import Score
from privllm.tasks.formats import Example
from privllm.tasks.label_baselines import MAJORITY, TFIDF, WORD_FORM, NotComputed, majority, tfidf, word_form
from privllm.tasks.splits import Divided
from privllm.tasks.text_baselines import question_of, text_baselines
from privllm.train.predictions import HeldOutResults, MoreScores, answer_of, scores_of

JUDGED_BY = {"classification": "accuracy", "tokens": "span_f1", "text2text": "rouge_l", "chat": "rouge_l"}
OF_ANSWERS = "f1"  # of questions with a context
WORDS = {"accuracy": "accuracy", "span_f1": "span F1", "rouge_l": "ROUGE-L", "f1": "word F1"}


class Rival(NamedTuple):
    """A baseline beside the model."""

    name: str
    compared: Difference  # a: the baseline, b: the model


def compared_with_baselines(
    kind: str, divided: Divided, judged: HeldOutResults, score_more: MoreScores
) -> dict[str, Any]:
    """Return the part of the report about baselines; {} where no example was answered.

    scores {baseline: its figures}, difference {baseline: of the model's score less its own}, not_computed {baseline: why}, and
    sentences for people.
    """
    examples = [divided.test[index] for index in judged.answered]
    if not examples:
        return {}
    answers, not_computed = _answers(kind, divided.train, examples)
    expected = [answer_of(example) for example in examples]
    judged_by = JUDGED_BY[kind]
    if all(question_of(example.content) for example in examples):
        judged_by = OF_ANSWERS
    figures: dict[str, dict[str, float]] = {}
    rivals = []
    for name, given in answers.items():
        scores, of_all = scores_of(kind, expected, given, score_more)
        figures[name] = HeldOutResults([], [], scores, of_all).plain()
        rivals.append(Rival(name, _compared(scores[judged_by], judged.scores[judged_by], examples)))
    strongest = max(rivals, key=lambda rival: rival.compared.a)
    return {
        "judged_by": judged_by,
        "scores": figures,
        "difference": {rival.name: _as_report(rival.compared) for rival in rivals},
        "not_computed": not_computed,
        "strongest": strongest.name,
        "beaten": _is_beaten(strongest.compared),
        "sentences": _sentences(WORDS[judged_by], strongest, rivals, not_computed),
    }


def _answers(
    kind: str, train: Sequence[Example], examples: Sequence[Example]
) -> tuple[dict[str, Sequence[Any]], dict[str, str]]:
    """Return {baseline: its answers}, and {baseline: why it has none}."""
    if kind == "tokens":
        return {WORD_FORM: word_form(train, examples)}, {}
    if kind != "classification":
        return dict(text_baselines([example.content for example in examples])), {}
    answers: dict[str, Sequence[Any]] = {MAJORITY: majority(train, examples)}
    try:
        answers[TFIDF] = tfidf(train, examples)
    except NotComputed as reason:
        return answers, {TFIDF: str(reason)}
    return answers, {}


def _compared(baseline: Score, model: Score, examples: Sequence[Example]) -> Difference:
    return difference(baseline, model, [example.group for example in examples])


def _is_beaten(compared: Difference) -> bool:
    return compared.interval is not None and compared.interval[0] > 0


def _as_report(compared: Difference) -> dict[str, Any]:
    report: dict[str, Any] = {"difference": compared.difference, "better": _is_beaten(compared)}
    if compared.interval:
        report["low"], report["high"] = compared.interval
    return report


def _sentences(score: str, strongest: Rival, rivals: Sequence[Rival], not_computed: Mapping[str, str]) -> list[str]:
    sentences = [_about(score, strongest)]
    others = [rival for rival in rivals if rival is not strongest and rival.compared.difference < 0]
    if others:
        named = " and ".join(f"{rival.name} ({rival.compared.a:.3f})" for rival in others)
        sentences.append(f"It is also below {named}.")
    sentences += [f"{name} was not computed: {reason}." for name, reason in not_computed.items()]
    return sentences


def _about(score: str, rival: Rival) -> str:
    """Return whether the model beats a baseline."""
    a, b, gap, interval = rival.compared
    values = f"the strongest baseline, {rival.name}: {score} {b:.3f} against {a:.3f}"
    if interval is None:
        verb = "lies above" if gap > 0 else "loses to" if gap < 0 else "equals"
        return f"The model {verb} {values}; fewer than {LEAST_GROUPS} groups of held-out examples do not tell more."
    low, high = interval
    if low > 0:
        verb = "beats"
    elif gap < 0:
        verb = "loses to"
    else:
        verb = "is not shown to beat"
    return f"The model {verb} {values} (difference {gap:+.3f}, 95 % interval {low:+.3f} to {high:+.3f})."
