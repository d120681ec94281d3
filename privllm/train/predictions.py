"""What a tuned model says of examples it was not tuned on, and how good that is.

Every score is per example (`stats.scores.Score`), so that two models can be compared on the same ones; BLEU, chrF and macro F1 are
of all together and have no interval. `loss` is nats per label that counts (lower is better); of all others more is better.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, PreTrainedModel

from privllm.core.bio_labels import OUTSIDE
from privllm.core.progress import bar
from privllm.stats.scores import Score, accuracy, macro_f1, mean_of, span_f1
from privllm.stats.text_overlap import exact_match, overlap, rouge_l, word_f1
from privllm.tasks.formats import Chat, Classified, Example, InputOutput, Tagged
from privllm.tokens.chat_format import Speech
from privllm.train.batches import Batch, fill, spread, within
from privllm.train.example_encoding import Encoded
from privllm.train.finetune_objectives import Supervised
from privllm.train.step_parts import cut, rows_at_once

MoreScores = Callable[[Sequence[Any], Sequence[Any]], dict[str, Score]]  # of the right answers and the model's
KIND_OF = {Classified: "classification", Tagged: "tokens", InputOutput: "text2text", Chat: "chat"}
# What a task is judged by.
MAIN = {"classification": "accuracy", "tokens": "span_f1", "text2text": "loss", "chat": "loss"}


@dataclass(frozen=True)
class HeldOutResults:
    """A model's answers and their scores, of all examples or of those that were answered in words."""

    answered: list[int]  # which examples `given` is about
    given: list[Any]  # labels or texts
    scores: dict[str, Score]
    figures: dict[str, float] = field(default_factory=dict)  # those of all examples together

    def plain(self) -> dict[str, float]:
        """Return all figures as they stand in the report."""
        figures = {name: round(score.value, 6) for name, score in self.scores.items()}
        return figures | self.figures


@dataclass(frozen=True)
class Limits:
    batch_size: int  # examples read or answered at once
    generated: int  # examples that are answered in words
    max_new_tokens: int  # of one answer


def judge(
    objective: Supervised,
    examples: Sequence[Example],
    encoded: Sequence[Encoded],
    labels: tuple[str, ...],
    speech: Speech,
    limits: Limits,
    score_more: MoreScores,
) -> HeldOutResults:
    """Answer the examples, in eval mode, and score the answers; `limits.generated` of them, evenly spaced, in words.

    `score_more` gives the project's own scores.
    """
    objective.model.eval()
    loss, guesses, _ = read(objective, encoded, limits.batch_size)
    expected = [answer_of(example) for example in examples]
    kind = KIND_OF[type(examples[0].content)]
    answered = list(range(len(examples)))
    given: list[Any]
    if kind == "classification":
        given = [labels[guess[0]] for guess in guesses]
    elif kind == "tokens":
        given = []
        for example, guess in zip(examples, guesses, strict=True):
            names = [labels[number] for number in guess]
            given.append(placed(example.content, names))
    else:
        answered = spread(len(examples), limits.generated).tolist() if limits.generated else []
        given = write(objective.model, [encoded[index] for index in answered], speech, limits)
    scores, figures = scores_of(kind, [expected[index] for index in answered], given, score_more)
    return HeldOutResults(answered, given, {"loss": loss} | scores, figures)


def scores_of(
    kind: str, expected: Sequence[Any], given: Sequence[Any], score_more: MoreScores
) -> tuple[dict[str, Score], dict[str, float]]:
    """Return the scores of answers by example, and those of all together."""
    if kind == "classification":
        scores = {"accuracy": accuracy(expected, given)}
        figures = {"macro_f1": round(macro_f1(expected, given), 6)}
    elif kind == "tokens":
        scores, figures = {"span_f1": span_f1(expected, given)}, {}
    else:
        scores = _text_scores(given, expected)
        figures = overlap(given, expected) if given else {}
    return scores | score_more(expected, given), figures


def _text_scores(written: Sequence[str], references: Sequence[str]) -> dict[str, Score]:
    scores = {}
    for name, measure in (("rouge_l", rouge_l), ("exact_match", exact_match), ("f1", word_f1)):
        values = [measure(text, reference) for text, reference in zip(written, references, strict=True)]
        scores[name] = mean_of(values)
    return scores


@torch.inference_mode()
def read(
    objective: Supervised,
    encoded: Sequence[Encoded],
    batch_size: int,
) -> tuple[Score, list[list[int]], list[list[float]]]:
    """Return the loss by example, the likeliest label wherever one counts, and its probability."""
    nats, counts = np.zeros(len(encoded)), np.zeros(len(encoded))
    guesses: list[list[int]] = [[] for _ in encoded]
    probabilities: list[list[float]] = [[] for _ in encoded]
    with torch.compiler.set_stance("force_eager"):
        for start, on_cpu in _batches(objective, encoded, batch_size):
            batch = tuple(tensor.to(objective.model.device) for tensor in on_cpu)
            logits_NC, is_label = objective.logits(batch)
            logits_NC = logits_NC.float()
            expected_N = batch[-1][is_label]
            losses_N = torch.nn.functional.cross_entropy(logits_NC, expected_N, reduction="none")
            best_N, labels_N = logits_NC.max(-1)
            probability_N = (best_N - logits_NC.logsumexp(-1)).exp()
            rows = is_label.nonzero()[:, 0].tolist()
            columns = (losses_N.tolist(), labels_N.tolist(), probability_N.tolist())
            for row, loss, guess, probability in zip(rows, *columns, strict=True):
                nats[start + row] += loss
                counts[start + row] += 1
                guesses[start + row].append(guess)
                probabilities[start + row].append(probability)
    return Score(nats, counts), guesses, probabilities


def _batches(objective: Supervised, encoded: Sequence[Encoded], batch_size: int) -> Iterator[tuple[int, Batch]]:
    """Yield batches of at most as many positions as go through the model at once, each with the number of its first example."""
    for start in range(0, len(encoded), batch_size):
        batch = objective.make(encoded[start : start + batch_size])
        rows = rows_at_once(batch, objective.positions_at_once)
        for number, piece in enumerate(cut(batch, rows)):
            yield start + number * rows, piece


@torch.inference_mode()
def write(model: PreTrainedModel, encoded: Sequence[Encoded], speech: Speech, limits: Limits) -> list[str]:
    """Return the model's likeliest answers (greedy), generated in batches of prompts of about one length.

    Prompts are padded in front for a model that continues them.
    """
    marks = speech.marks
    continues_prompt = not model.config.is_encoder_decoder
    cfg = GenerationConfig(
        max_new_tokens=limits.max_new_tokens,
        do_sample=False,
        pad_token_id=marks.pad,
        eos_token_id=list(marks.ends),
        decoder_start_token_id=None if continues_prompt else model.config.decoder_start_token_id,
    )
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index].prompt))
    written = [""] * len(encoded)
    # Each layer's cache is another shape to a compiled block, which would be compiled again for every one.
    with torch.compiler.set_stance("force_eager"), bar("answer", total=len(order)) as advance:
        for start in range(0, len(order), limits.batch_size):
            indices = order[start : start + limits.batch_size]
            prompts = [encoded[index].prompt for index in indices]
            inputs, attended = _padded_prompts(prompts, marks.pad, in_front=continues_prompt)
            output = model.generate(  # type: ignore[operator]
                inputs.to(model.device), attention_mask=attended.to(model.device), generation_config=cfg
            )
            prompt_length = inputs.shape[1] if continues_prompt else 1
            for index, ids in zip(indices, output[:, prompt_length:].tolist(), strict=True):
                written[index] = speech.text(ids)
                advance()
    return written


def _padded_prompts(prompts: list[np.ndarray], pad: int, in_front: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return prompts as int64 [B, T], and which positions are not padding (int64 [B, T])."""
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    if in_front:
        reversed_BT = fill([prompt[::-1] for prompt in prompts], pad)
        inputs_BT = reversed_BT.flip(1)
    else:
        inputs_BT = fill(prompts, pad)
    attended_BT = within(lengths, inputs_BT.shape[1])
    if in_front:
        attended_BT = attended_BT.flip(1)
    return inputs_BT, attended_BT.long()


def placed(content: Any, predicted: Sequence[str]) -> list[str]:
    """Return a label for every word: the predicted ones in their places, OUTSIDE for words beyond the context."""
    labels = [OUTSIDE] * len(content.tokens)
    for place, label in zip(content.asked(), predicted, strict=False):
        labels[place] = label
    return labels


def answer_of(example: Example) -> Any:
    """Return the right answer: a label, labels, or a text."""
    match example.content:
        case Classified(_, label):
            return label
        case Tagged(_, labels):
            return list(labels)
        case InputOutput(_, answer):
            return answer
        case Chat(turns):
            return turns[-1][1]


def as_line(example: Example, predicted: Any) -> dict[str, Any]:
    """Return one line of predictions.jsonl."""
    return {"id": example.id, "expected": answer_of(example), "predicted": predicted}
