"""Predictions of a tuned model for new inputs: the folder that `finetune` wrote, and lines without answers, to lines with answers.

    classification  {"id": "7", "label": "billing", "probability": 0.93}
    tokens          {"id": "7", "spans": [{"start": 0, "end": 2, "type": "PER", "text": "Ada Lovelace", "probability": 0.88}]}
    text2text, chat {"id": "7", "text": "..."}

`start` and `end` count tokens, and a hidden one is written "…"; a span is as probable as its least probable token; "cut" is there, and
true, where the end of an input (of a chat, its beginning) was beyond what the model sees. Answers in words are the likeliest (greedy). It
scores nothing (`predict`).
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.out_of_memory import shortage_explained
from privllm.models.devices import place
from privllm.models.loading import config_of, context_of
from privllm.models.task_heads import open_model
from privllm.stats.scores import spans
from privllm.tasks.formats import Chat, Classified, Dataset, Example, InputOutput, Tagged
from privllm.tokens.chat_format import Speech
from privllm.train.example_encoding import Coder, Encoded
from privllm.train.finetune import FinetuneConfig
from privllm.train.finetune_objectives import objective_for
from privllm.train.predictions import Limits, placed, read, write

BATCH = 16
HIDDEN = "…"  # what is written for a word that nobody knows


@dataclass(frozen=True)
class Tuned:
    model: PreTrainedModel
    kind: str
    family: str
    labels: tuple[str, ...]  # of its head
    speech: Speech
    context: int  # tokens of an input at most
    max_new_tokens: int  # of an answer in words


@shortage_explained("Take a task of a smaller model, or close other programs")
def open_tuned(folder: Path) -> Tuned:
    """Return the model that `finetune` left in `folder`, in eval mode on this process's device. Raises UserError when there is none."""
    skipped = _json(folder / "skipped.json")
    facts = _json(folder / "training.json")
    if skipped:
        raise UserError(f"{folder} holds no model, since its task was skipped: {skipped['skipped']}")
    if "kind" not in facts:
        tuned = sorted(path.parent.name for path in folder.parent.glob("*/predictions.jsonl"))
        hint = f"there are {', '.join(tuned)}" if tuned else "there are none yet"
        raise UserError(
            f"{folder} holds no tuned model ({hint}): run `dvc repro finetune@{folder.name}`, or name another task."
        )
    kind, family, max_new_tokens = facts["kind"], facts["family"], facts["config"]["max_new_tokens"]
    config = config_of(folder)
    labels: tuple[str, ...] = ()
    if kind in ("classification", "tokens"):
        labels = tuple(label for _, label in sorted(config.id2label.items()))
    shares_context = TRAITS[family].continues_text and not labels  # of prompt and answer
    longest = min(facts["config"].get("max_length", context_of(config)), context_of(config))
    room = longest - (max_new_tokens if shares_context else 0)
    speech = Speech(folder)
    model = place(open_model(kind, family, folder, labels, speech.marks.pad, 0)).eval()
    return Tuned(model, kind, family, labels, speech, room, max_new_tokens)


def answers(tuned: Tuned, examples: Iterable[Example]) -> Iterator[dict[str, Any]]:
    """Yield one line for each example, in their order; BATCH of them are read before the first is answered."""
    stream = iter(examples)
    while batch := list(islice(stream, BATCH)):
        encoded, is_cut = [], []
        for example in batch:
            encoded_example, example_is_cut = _encode(tuned, example)
            encoded.append(encoded_example)
            is_cut.append(example_is_cut)
        predictions = _predict(tuned, batch, encoded)
        for example, prediction, cut in zip(batch, predictions, is_cut, strict=True):
            line: dict[str, Any] = {"id": example.id} if example.id else {}
            line |= prediction
            if cut:
                line["cut"] = True
            yield line


def _json(path: Path) -> dict[str, Any]:
    """Return the content of a file, {} where there is none."""
    if not path.is_file():
        return {}
    return json.loads(path.read_text("utf-8"))


def _encode(tuned: Tuned, example: Example) -> tuple[Encoded, bool]:
    """Return the encoded example, and whether its end was cut."""
    if isinstance(example.content, Classified):  # the encoder asks for a class that the head has
        content = replace(example.content, label=tuned.labels[0])
        example = replace(example, content=content)
    dataset = Dataset(Path("input"), tuned.kind, (example,), {})
    coder = Coder(tuned.speech, tuned.family, dataset, tuned.context, tuned.labels)
    (encoded,) = coder.encode([example])
    return encoded, coder.cut > 0


def _predict(tuned: Tuned, examples: list[Example], encoded: list[Encoded]) -> list[dict[str, Any]]:
    """Return what the line of each example has besides its id."""
    if not tuned.labels:
        limits = Limits(BATCH, len(encoded), tuned.max_new_tokens)
        texts = write(tuned.model, encoded, tuned.speech, limits)
        return [{"text": text} for text in texts]
    make = objective_for(tuned.kind, tuned.family)
    objective = make(tuned.model, FinetuneConfig(), [], [], tuned.speech.marks.pad, "predict")
    _, guesses, probabilities = read(objective, encoded, BATCH)
    predictions = []
    for example, guess, chances in zip(examples, guesses, probabilities, strict=True):
        labels = [tuned.labels[number] for number in guess]
        match example.content:
            case Classified():
                predictions.append({"label": labels[0], "probability": round(chances[0], 4)})
            case Tagged() as content:
                predictions.append({"spans": _spans(content, labels, chances)})
            case InputOutput() | Chat():
                raise AssertionError("these have no labels")
    return predictions


def _spans(content: Tagged, labels: list[str], chances: list[float]) -> list[dict[str, Any]]:
    """Return the spans that the labels mark; `chances` are the labels' probabilities."""
    chance_of_token = dict(zip(content.asked(), chances, strict=False))
    lines = []
    for start, end, kind in sorted(spans(placed(content, labels))):
        words = [token or HIDDEN for token in content.tokens[start:end]]
        least = min(chance_of_token[place] for place in range(start, end))
        line = {"start": start, "end": end, "type": kind, "text": " ".join(words), "probability": round(least, 4)}
        lines.append(line)
    return lines
