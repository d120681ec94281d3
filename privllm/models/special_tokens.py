"""The ids that our tokenizers give to tokens which are not text (see `tokens.vocabulary`), for the models that must know them."""

from pathlib import Path

from tokenizers import Tokenizer

from privllm.core.errors import UserError

END_OF_TEXT = 0  # <|endoftext|>
PAD = 1  # <|pad|>
MASK = 2  # <|mask|>
END = 5  # <|end|>, of a turn
IGNORED = -100  # label of a position that is not to be learnt
# These, <|user|> and <|assistant|>: a model that was hardly trained may write them, people may not.
MARKS = (PAD, MASK, 3, 4, END)
_NAMES = {"<|endoftext|>": END_OF_TEXT, "<|pad|>": PAD, "<|mask|>": MASK}


def vocabulary_size(tokenizer: Path) -> int:
    """Return how many ids the tokenizer.json of the folder `tokenizer` has, special ones and gaps included.

    Raises UserError when it is not ours.
    """
    file = tokenizer / "tokenizer.json"
    if not file.is_file():
        raise UserError(f"{file} is missing: run `dvc repro tokenizer` first.")
    loaded = Tokenizer.from_file(str(file))
    for name, expected in _NAMES.items():
        actual = loaded.token_to_id(name)
        if actual != expected:
            raise UserError(f"{file} gives {name} the id {actual}, not {expected}: rebuild it with `dvc repro tokenizer`.")
    return 1 + max(loaded.get_vocab().values())
