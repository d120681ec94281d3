"""What transformers' own tokenizer makes of a text by the files of a folder.

Its tokenizer_config.json may say something else than its tokenizer.json, by which a build reads: then those who use the
exported model would give it other tokens than it was trained on.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from privllm.core.errors import UserError

CHECKED_TEXT = "Nothing leaves the machine: 12,345 naïve façades, 数 and 🙂.\n\n\tTabs too."


def open_stock_tokenizer(folder: Path) -> Any:
    """Return the tokenizer that transformers makes of the folder's files alone. Raises UserError where it makes none."""
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ImportError, KeyError, OSError, TypeError, ValueError) as error:
        raise UserError(f"transformers cannot open the tokenizer in {folder} ({error}).") from error


def require_equal_ids(tokenizer: Any, expected: Sequence[int], where: Path) -> None:
    """Raise UserError unless transformers gives CHECKED_TEXT these ids."""
    if tokenizer(CHECKED_TEXT, add_special_tokens=False)["input_ids"] != list(expected):
        raise UserError(
            f"transformers reads {where} with other ids than its tokenizer.json gives: the tokenizer_config.json of the base says "
            'something else, such as no `"do_lower_case": false` for a BERT with capitals. Correct it there, and take the model in again.'
        )
