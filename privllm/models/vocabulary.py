"""Size of the vocabulary that a model is built for, read from its tokenizer."""

from pathlib import Path

from tokenizers import Tokenizer

from privllm.core.errors import UserError
from privllm.core.special_tokens import END_OF_TEXT, MASK, PAD, SPECIAL_TOKENS

IGNORED = -100  # label of a position that is not to be learnt
REQUIRED_IDS = (END_OF_TEXT, PAD, MASK)  # the losses of all families depend on these


def vocabulary_size(tokenizer: Path) -> int:
    """Return the number of ids in the tokenizer.json of the folder `tokenizer`, gaps included.

    Raises UserError when the file is missing, or gives the special tokens other ids than ours.
    """
    file = tokenizer / "tokenizer.json"
    if not file.is_file():
        raise UserError(f"{file} is missing: run `dvc repro tokenizer` first.")
    loaded = Tokenizer.from_file(str(file))
    for expected_id in REQUIRED_IDS:
        name = SPECIAL_TOKENS[expected_id]
        actual_id = loaded.token_to_id(name)
        if actual_id != expected_id:
            message = f"{file} gives {name} the id {actual_id}, not {expected_id}"
            raise UserError(f"{message}: rebuild it with `dvc repro tokenizer`.")
    return 1 + max(loaded.get_vocab().values())
