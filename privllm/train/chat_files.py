"""What stock transformers, and every server built on it, must find in a folder whose model answers turns: where a reply ends, and a chat
template that puts the marks which the model was taught.

It is for folders that are whole: model and tokenizer. It changes no weight.
"""

import shutil
from pathlib import Path

from privllm.models.end_tokens import note_ends
from privllm.models.family import FAMILIES
from privllm.models.seq2seq import with_sentinels
from privllm.tokens.chat_format import Speech, agreeing_template
from privllm.tokens.chat_template import FILE


def answer_turns(folder: Path) -> None:
    """Note the ends of a reply in both configurations of `folder`, and replace its chat template where that says something else."""
    note_ends(folder, Speech(folder).marks.ends)
    if template := agreeing_template(folder):
        (folder / FILE).write_text(template, "utf-8")


def copy_tokenizer(tokenizer: Path, out: Path, family: str) -> None:
    """Make a model's folder whole: copy the files of its tokenizer, with the sentinels where the family's rows have them."""
    for path in tokenizer_files(tokenizer):
        shutil.copyfile(path, out / path.name)
    if FAMILIES[family].model.has_sentinels:
        file = out / "tokenizer.json"
        file.write_text(with_sentinels(file.read_text("utf-8")), "utf-8")


def tokenizer_files(folder: Path) -> list[Path]:
    """Return the files of a Hugging Face folder that make its tokenizer."""
    return [*sorted(folder.glob("*token*.json")), *sorted(folder.glob("*.jinja"))]
