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


def read_as_stock(folder: Path, expected_ids: Sequence[int], remedy: str) -> Any:
    """Return the tokenizer that transformers makes of the folder's files alone, which gives CHECKED_TEXT the expected ids.

    Raises UserError, which ends in the `remedy`, where it makes none or gives others.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        ids = tokenizer(CHECKED_TEXT, add_special_tokens=False)["input_ids"]
    except Exception as error:  # whatever transformers raises of a tokenizer's settings
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise UserError(f"transformers cannot open the tokenizer: {reason[0].strip()}. {remedy}") from error
    if ids != list(expected_ids):
        raise UserError(
            "transformers gives a text other ids than the tokenizer.json does, so the tokenizer_config.json says something else, such as "
            f'no `"do_lower_case": false` for a BERT with capitals. {remedy}'
        )
    return tokenizer
