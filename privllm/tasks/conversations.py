"""Conversations that people put into data/chat, as replies to imitate: cleaned as documents are, one row for each reply.

    data/chat/**/*.{jsonl,json,csv,tsv,parquet}, in the forms of `dataset_forms`
        -> chat.jsonl   id, prompt (the messages before), reply, weight    as corrections have them in sft.jsonl

A row that cannot be used costs that row, and is counted and named; a file that is no dataset of conversations is an error.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from privllm.core.printable import say
from privllm.core.report import write_json_lines
from privllm.core.seed import name_digest
from privllm.tasks.chat_turns import ASSISTANT, Turn
from privllm.tasks.formats import Chat
from privllm.tasks.read_dataset import read_examples, summary_of, told_of
from privllm.tasks.row_files import DELIMITERS, JSON, PARQUET

SUFFIXES = (".jsonl", JSON, PARQUET, *DELIMITERS)
CleanText = Callable[[str], tuple[str, dict[str, int]]]  # text -> (text, number of placeholders of each kind)
Row = dict[str, Any]


def write_conversations(folder: Path, out: Path, clean_text: CleanText) -> dict[str, Any]:
    """Write the replies of every conversation below `folder` to `out`, in the order of files and rows, and return the report.

    Raises UserError for a file that is no dataset of conversations.
    """
    rows: list[Row] = []
    counts: Counter[str] = Counter(files=0, conversations=0, replies=0, skipped=0, repeated=0)
    placeholders: Counter[str] = Counter()
    datasets: dict[str, Any] = {}  # by file
    for path in chat_files(folder):
        dataset = read_examples(path, "chat")
        for line in told_of(dataset):
            say(line, err=True)
        datasets[path.relative_to(folder).as_posix()] = summary_of(dataset)
        counts.update(files=1, conversations=len(dataset.examples))
        counts.update({name: dataset.counts[name] for name in ("skipped", "repeated")})
        for example in dataset.examples:
            assert isinstance(example.content, Chat)
            turns = []
            for role, text in example.content.turns:
                cleaned, replaced = clean_text(text)
                placeholders.update(replaced)
                turns.append((role, cleaned))
            rows += _replies(turns)
    counts["replies"] = len(rows)
    write_json_lines(out, rows)
    return dict(counts) | {"placeholders": dict(sorted(placeholders.items())), "data": datasets}


def chat_files(folder: Path) -> list[Path]:
    """Return the datasets below `folder`, by path; notes of DVC and git are none."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in SUFFIXES)


def _replies(turns: list[Turn]) -> Iterator[Row]:
    """Yield a row for each of the assistant's turns."""
    for place, (role, text) in enumerate(turns):
        if role != ASSISTANT:
            continue
        prompt = [{"role": said_by, "content": said} for said_by, said in turns[:place]]
        identifier = name_digest("chat", repr((turns[:place], text)))
        yield {"id": identifier, "weight": 1.0, "prompt": prompt, "reply": text}
