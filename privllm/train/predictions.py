"""What a tuned model says of examples it was not tuned on, and how good that is.

Every score is per example (`stats.scores.Score`), so that two models can be compared on the same ones; BLEU, chrF and macro F1 are
of all together and have no interval. `loss` is nats per label that counts (lower is better); of all others more is better.
"""

from collections.abc import Sequence
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
from privllm.train.batches import fill, spread
from privllm.train.example_encoding import Encoded
from privllm.train.finetune_objectives import Supervised

MAIN = {"classification": "accuracy", "tokens": "span_f1", "text2text": "loss", "chat": "loss"}  # what a task is judged by


@dataclass(frozen=True)
class Judged:
    """A model's answers and their scores, of all examples or of those that were answered in words."""

    answered: list[int]  # which examples `given` is about
    given: list[Any]  # labels or texts
    scores: dict[str, Score]
    figures: dict[str, float] = field(default_factory=dict)  # those of all examples together

    def plain(self) -> dict[str, float]:
        return {name: round(score.value, 6) for name, score in self.scores.items()} | self.figures


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
) -> Judged:
    """Answer the examples, in eval mode, and score the answers; `limits.generated` of them, evenly spaced, in words."""
    objective.model.eval()
    loss, guesses, _ = read(objective, encoded, limits.batch_size)
    expected = [answer_of(example) for example in examples]
    kind, everything = type(examples[0].content), list(range(len(examples)))
    if kind is Classified:
        given = [labels[guess[0]] for guess in guesses]
        figures = {"macro_f1": round(macro_f1(expected, given), 6)}
        return Judged(everything, given, {"accuracy": accuracy(expected, given), "loss": loss}, figures)
    if kind is Tagged:
        tags = [placed(example.content, [labels[g] for g in guess]) for example, guess in zip(examples, guesses, strict=True)]
        return Judged(everything, tags, {"span_f1": span_f1(expected, tags), "loss": loss})
    answered = spread(len(examples), limits.generated).tolist() if limits.generated else []
    wanted = [expected[i] for i in answered]
    written = write(objective.model, [encoded[i] for i in answered], speech, limits)
    scores = {"loss": loss}
    for name, measure in (("rouge_l", rouge_l), ("exact_match", exact_match), ("f1", word_f1)):
        scores[name] = mean_of([measure(a, b) for a, b in zip(written, wanted, strict=True)])
    return Judged(answered, written, scores, overlap(written, wanted) if written else {})


@torch.inference_mode()
def read(objective: Supervised, encoded: Sequence[Encoded], batch_size: int) -> tuple[Score, list[list[int]], list[list[float]]]:
    """The loss by example; the likeliest label wherever one counts, and its probability."""
    nats, counts = np.zeros(len(encoded)), np.zeros(len(encoded))
    guesses: list[list[int]] = [[] for _ in encoded]
    sure: list[list[float]] = [[] for _ in encoded]
    with torch.compiler.set_stance("force_eager"):
        for start in range(0, len(encoded), batch_size):
            batch = tuple(part.to(objective.model.device) for part in objective.make(encoded[start : start + batch_size]))
            logits_NC, wanted = objective.logits(batch)
            losses_N = torch.nn.functional.cross_entropy(logits_NC.float(), batch[-1][wanted], reduction="none")
            best_N, labels_N = logits_NC.float().max(-1)
            chance_N = (best_N - logits_NC.float().logsumexp(-1)).exp()
            found = zip(wanted.nonzero()[:, 0].tolist(), losses_N.tolist(), labels_N.tolist(), chance_N.tolist(), strict=True)
            for row, loss, guess, probability in found:
                nats[start + row] += loss
                counts[start + row] += 1
                guesses[start + row].append(guess)
                sure[start + row].append(probability)
    return Score(nats, counts), guesses, sure


@torch.inference_mode()
def write(model: PreTrainedModel, encoded: Sequence[Encoded], speech: Speech, limits: Limits) -> list[str]:
    """The model's likeliest answers (greedy), in batches of prompts of about one length; prompts are padded in front for a causal model."""
    marks, ahead = speech.marks, not model.config.is_encoder_decoder
    cfg = GenerationConfig(
        max_new_tokens=limits.max_new_tokens,
        do_sample=False,
        pad_token_id=marks.pad,
        eos_token_id=list(marks.ends),
        decoder_start_token_id=model.config.decoder_start_token_id if not ahead else None,
    )
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i].prompt))
    written = [""] * len(encoded)
    with bar("answer", total=len(order)) as advance:
        for start in range(0, len(order), limits.batch_size):
            chosen = order[start : start + limits.batch_size]
            prompts = [encoded[i].prompt[::-1] if ahead else encoded[i].prompt for i in chosen]
            inputs = fill(prompts, marks.pad)
            seen = torch.arange(inputs.shape[1])[None, :] < torch.tensor([len(prompt) for prompt in prompts])[:, None]
            if ahead:
                inputs, seen = inputs.flip(1), seen.flip(1)
            made = model.generate(  # type: ignore[operator]
                inputs.to(model.device), attention_mask=seen.long().to(model.device), generation_config=cfg
            )
            new = made[:, inputs.shape[1] :] if ahead else made[:, 1:]
            for i, ids in zip(chosen, new.tolist(), strict=True):
                written[i] = speech.text(ids)
                advance()
    return written


def placed(content: Any, said: Sequence[str]) -> list[str]:
    """What was said of the words that are asked, in their places; of words beyond the context nobody said anything."""
    labels = [OUTSIDE] * len(content.tokens)
    for place, label in zip(content.asked(), said, strict=False):
        labels[place] = label
    return labels


def answer_of(example: Example) -> Any:
    """What is right: a label, labels, or a text."""
    match example.content:
        case Classified(_, label):
            return label
        case Tagged(_, labels):
            return list(labels)
        case InputOutput(_, answer):
            return answer
        case Chat(turns):
            return turns[-1][1]


def as_line(example: Example, given: Any) -> dict[str, Any]:
    """One line of predictions.jsonl."""
    return {"id": example.id, "expected": answer_of(example), "predicted": given}
