"""What a tuned model says of new inputs: the folder that `finetune` wrote, and lines without answers, to lines with answers.

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
from privllm.core.out_of_memory import shortage_explained
from privllm.models.family import config_of, context_of
from privllm.models.task_heads import open_model
from privllm.stats.scores import spans
from privllm.tasks.formats import Chat, Classified, Dataset, Example, InputOutput, Tagged
from privllm.tokens.chat_format import Speech
from privllm.train.example_encoding import Coder, Encoded
from privllm.train.finetune import FinetuneConfig
from privllm.train.finetune_objectives import OBJECTIVES
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
    """The model that `finetune` left in `folder`, in eval mode on the CPU. Raises UserError when there is none."""
    skipped, facts = (_json(folder / name) for name in ("skipped.json", "training.json"))
    if skipped:
        raise UserError(f"{folder} holds no model, since its task was skipped: {skipped['skipped']}")
    if "kind" not in facts:
        known = sorted(path.parent.name for path in folder.parent.glob("*/predictions.jsonl"))
        there = f"there are {', '.join(known)}" if known else "there are none yet"
        raise UserError(f"{folder} holds no tuned model ({there}): run `dvc repro finetune@{folder.name}`, or name another task.")
    kind, family, written = facts["kind"], facts["family"], facts["config"]["max_new_tokens"]
    config = config_of(folder)
    labels = tuple(label for _, label in sorted(config.id2label.items())) if kind in ("classification", "tokens") else ()
    room = context_of(config) - (written if family == "causal" and not labels else 0)  # prompt and answer share a causal model's context
    model = open_model(kind, family, folder, labels, 0).eval()
    return Tuned(model, kind, family, labels, Speech(folder), room, written)


def answers(tuned: Tuned, examples: Iterable[Example]) -> Iterator[dict[str, Any]]:
    """One line for each example, in their order; BATCH of them are read before the first is answered."""
    stream = iter(examples)
    while batch := list(islice(stream, BATCH)):
        encoded, cut = zip(*(_encode(tuned, example) for example in batch), strict=True)
        for example, found, short in zip(batch, _say(tuned, batch, list(encoded)), cut, strict=True):
            yield ({"id": example.id} if example.id else {}) | found | ({"cut": True} if short else {})


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def _encode(tuned: Tuned, example: Example) -> tuple[Encoded, bool]:
    if isinstance(example.content, Classified):  # the encoder asks for a class that the head has
        example = replace(example, content=replace(example.content, label=tuned.labels[0]))
    nowhere = Dataset(Path("input"), tuned.kind, (example,), {})
    coder = Coder(tuned.speech, tuned.family, nowhere, tuned.context, tuned.labels)
    return coder.encode([example])[0], coder.cut > 0


def _say(tuned: Tuned, examples: list[Example], encoded: list[Encoded]) -> list[dict[str, Any]]:
    if not tuned.labels:
        texts = write(tuned.model, encoded, tuned.speech, Limits(BATCH, len(encoded), tuned.max_new_tokens))
        return [{"text": text} for text in texts]
    objective = OBJECTIVES[tuned.kind, tuned.family](tuned.model, FinetuneConfig(), [], [], tuned.speech.marks.pad, "predict")
    _, guesses, sure = read(objective, encoded, BATCH)
    found = []
    for example, guess, chances in zip(examples, guesses, sure, strict=True):
        labels = [tuned.labels[g] for g in guess]
        match example.content:
            case Classified():
                found.append({"label": labels[0], "probability": round(chances[0], 4)})
            case Tagged(tokens, _) as content:
                sure_at = dict(zip(content.asked(), chances, strict=False))
                found.append({"spans": [_span(tokens, span, sure_at) for span in sorted(spans(placed(content, labels)))]})
            case InputOutput() | Chat():
                raise AssertionError("these have no labels")
    return found


def _span(tokens: tuple[str | None, ...], span: tuple[int, int, str], chances: dict[int, float]) -> dict[str, Any]:
    start, end, kind = span
    text = " ".join(token or HIDDEN for token in tokens[start:end])
    return {"start": start, "end": end, "type": kind, "text": text, "probability": round(min(chances[i] for i in range(start, end)), 4)}
