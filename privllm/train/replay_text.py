"""General text for a base model: the files of data/replay, or what the model says by itself.

    data/replay/**/*.{txt,md,jsonl}    text in UTF-8; of JSON Lines the field `text`; cleaned as documents are
    data/start/<family>                the base model, beside which general.parquet is put (`tokens.general_text`)

What a model says by itself stands for what it was taught, which nobody else has (Sun et al. 2019, LAMOL, arXiv 1909.03329).
One that converses is given the mark before a user's turn and asks and answers its own questions (Xu et al. 2024, Magpie,
arXiv 2406.08464); a quarter of the texts, and all of a model that does not converse, begin as documents do. Models that only fill
gaps do not speak, so they have the files of data/replay or nothing.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from privllm.core.base_model import BASE, TOKENIZER
from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.engine.store import NO_STORE, Store
from privllm.tokens.chat_format import Speech
from privllm.tokens.encode import Encoder
from privllm.tokens.general_text import FILE, NewText, ReplayConfig, first_place, write_general
from privllm.tokens.special_ids import special_ids

SUFFIXES = (".txt", ".md", ".jsonl")
DOCUMENTS = 4  # one text in so many of a model that converses begins as a document
CleanText = Callable[[str], tuple[str, dict[str, int]]]  # text -> (text, number of placeholders of each kind)


def add_general_text(
    cfg: ReplayConfig, report: dict[str, Any], replay: Path, start: Path, clean_text: CleanText, store: Store = NO_STORE
) -> None:
    """Put general text beside each base model in `start` (data/start), and say so in the `report`.

    Raises UserError for a file of `replay` that cannot be read.
    """
    for family, traits in TRAITS.items():
        place = report.get(family, {}).get("start", "")
        if not BASE.fullmatch(place):
            continue
        folder, tokenizer = start / family, start / TOKENIZER
        if files := replay_files(replay):
            texts = [clean_text(text)[0] for path in files for text in texts_of(path)]
            counts = write_general(cfg, token_texts(cfg, texts, tokenizer), folder / FILE)
            report[family]["general_text"] = {"from": "data/replay", "files": len(files)} | counts
        elif cfg.samples and traits.continues_text:
            model_files = tuple(sorted(path for path in folder.iterdir() if path.name != FILE))
            job = (cfg, family, model_files, tuple(sorted(tokenizer.iterdir())))
            (counts,) = store.map(write_own_texts, [job], folder, "general text")
            report[family]["general_text"] = {"from": "the base model"} | counts


def replay_files(folder: Path) -> list[Path]:
    """Return the files of text below `folder`, by path; notes of DVC and git are none."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in SUFFIXES)


def texts_of(path: Path) -> Iterator[str]:
    """Yield the texts of a file. Raises UserError for one that is not UTF-8, or a line without text."""
    try:
        content = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error}): save it as UTF-8, or take it out of the folder.") from error
    if path.suffix.lower() != ".jsonl":
        yield content
        return
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            text = json.loads(line)["text"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UserError(
                f'{path}, line {number}, is no object with a field "text": correct it, or take it out.'
            ) from error
        if not isinstance(text, str):
            raise UserError(f'{path}, line {number}: "text" is no text: correct it, or take it out.')
        yield text


def token_texts(cfg: ReplayConfig, texts: Sequence[str], tokenizer: Path) -> Iterator[NewText]:
    """Yield the ids of texts, cut after `cfg.tokens` of them, with what begins a document before each part."""
    special = special_ids(tokenizer)
    for tokens in Encoder.open(tokenizer).encode(texts):
        whole = np.append(tokens, special.end).tolist()
        for first in range(0, len(whole), cfg.tokens):
            yield NewText([special.begin, *whole[first : first + cfg.tokens]])


def write_own_texts(
    out: Path, cfg: ReplayConfig, family: str, model_files: tuple[Path, ...], tokenizer_files: tuple[Path, ...]
) -> dict[str, int]:
    """Write what the model of these files says by itself, and return the counts of `write_general`."""
    from privllm.models.base_weights import load_base, note_of  # torch, only where there is work

    folder, tokenizer = model_files[0].parent, tokenizer_files[0].parent
    special, speech = special_ids(tokenizer), Speech(tokenizer)
    model = load_base(family, folder, special, cfg.tokens)
    conversations = cfg.samples - cfg.samples // DOCUMENTS if note_of(folder)["chat"] else 0
    texts = [*own_conversations(model, cfg, speech, conversations)]
    texts += own_documents(model, cfg, speech, cfg.samples - conversations)
    return write_general(cfg, texts, out / FILE)


def own_documents(model: Any, cfg: ReplayConfig, speech: Speech, count: int) -> Iterator[NewText]:
    """Yield texts that begin as documents do."""
    from privllm.models.sample_batch import Draws, draw

    special = speech.special
    never = special.never_written((special.end,))
    draws = Draws(count, cfg.tokens, cfg.temperature, cfg.top_k, cfg.seed)
    for tokens in draw(model, [special.begin], draws, (special.end,), never):
        yield NewText([special.begin, *tokens])


def own_conversations(model: Any, cfg: ReplayConfig, speech: Speech, count: int) -> Iterator[NewText]:
    """Yield conversations of one question and its answer; those of another form are left out."""
    from privllm.models.sample_batch import Draws, draw

    marks = speech.marks
    opening = [*marks.begin, *marks.user]
    between = [*marks.user_end, *marks.assistant]
    end_of_reply = marks.end[marks.last]
    written = (end_of_reply, marks.stop, *between)
    # A text ends with its last turn, and a question may end with the mark that ends a reply.
    turns = 2 if end_of_reply in marks.user_end else 1
    draws = Draws(count, cfg.tokens, cfg.temperature, cfg.top_k, cfg.seed, turns)
    never = speech.special.never_written(written)
    for tokens in draw(model, opening, draws, (end_of_reply,), never):
        place = first_place(tokens, between)
        if place > 0 and len(tokens) > place + len(between) + 1:
            yield NewText([*opening, *tokens], len(opening))
