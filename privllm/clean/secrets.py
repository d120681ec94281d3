"""Placeholders in place of keys, tokens and passwords; `pii.redact` calls this.

Known key formats are found by their prefixes; other secrets only where they are assigned to a name
such as `api_key`, and look random or are quoted. Prose about passwords is left alone.
"""

import math
import re
from collections import Counter

_PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?:[^-]|-(?!----)){0,20000}-----END [A-Z0-9 ]{0,40}-----|(?:[\s\\n]{0,8}[A-Za-z0-9+/=]{32,128})*)"
)
# Prefixes as their issuers document them: AWS, GitHub, GitLab, Slack, OpenAI and Anthropic, Google,
# Stripe, Hugging Face, npm, PyPI, JWT.
_KNOWN_KEY = re.compile(
    r"(?<![A-Za-z0-9_-])(?:(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}|glpat-[A-Za-z0-9_-]{20,64}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,250}|sk-[A-Za-z0-9_-]{20,250}|AIza[A-Za-z0-9_-]{35}|[rs]k_(?:live|test)_[A-Za-z0-9]{10,250}|hf_[A-Za-z0-9]{30,60}"
    r"|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,250}|eyJ[A-Za-z0-9_-]{8,4000}\.eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{0,1000})(?![A-Za-z0-9_])"
)
_KEY_PREFIXES = (
    *("AKIA", "ASIA", "ABIA", "ACCA"),
    *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-"),
    *("xox", "sk-", "AIza", "k_live_", "k_test_", "hf_", "npm_", "pypi-", "eyJ"),
)
_URL_LOGIN = re.compile(r"(?<=://)[^\s/@:<>\"']{1,128}:[^\s/@<>\"']{1,256}(?=@)")
_HEADER = re.compile(
    r"(?i)(?<!\w)((?:proxy-)?authorization[\"']?[ \t]{0,4}[:=,][ \t]{0,4}[\"']?(?:bearer|basic|token|apikey|digest)[ \t]{1,4})"
    r"[A-Za-z0-9._~+/=-]{6,4096}"
)
_BEARER = re.compile(r"(?<!\w)([Bb]earer )(?=[A-Za-z._~+/-]{0,64}\d)[A-Za-z0-9._~+/-]{16,4096}={0,2}")
_ASSIGNED = re.compile(
    r"(?i)(?<![^\W_])(?P<name>pass(?:word|wd|phrase|code)?|pwd|secret(?:[_-]?(?:access[_-]?)?key)?|token|credentials?"
    r"|(?:api|access|private|encryption|signing|auth)[_-]?(?:key|token))(?P<is>[\"']?(?:[ \t]{0,4}(?::=|=>|=|:)[ \t]{0,4}| is ))"
    # Quoted, it may be several words.
    r"(?P<quote>[\"'`]?)(?P<value>(?<=[\"'])[^\"'<>\n]{4,128}(?=[\"'])|[^\s\"'`<>,;(){}\[\]&|]{4,512})(?P<after>[\"'`(\[{.]?)"
)
# Searched in lower case, each by itself: a pattern that starts with plain characters is searched
# ten times faster.
_STEMS = {
    "pass": "pass",
    "pwd": "pwd",
    "secret": "secret",
    "key": "key(?<=[_isenght-]key)",
    "token": "token",
    "credential": "credential",
}
_ANY_NAME = {stem: re.compile(form + r"[a-z_-]{0,12}[\"']?(?:[ \t]{0,4}[:=]| is )") for stem, form in _STEMS.items()}
# Words that stand in the place of a secret in code and manuals.
_NO_SECRET = re.compile(
    "none|null|nil|true|false|undefined|str|string|bytes|text|int|bool|char|varchar|optional|required|default|empty|password|passwd|pwd|pass|secret"
    "|token|key|value|your|yourpassword|changeme|getpass|input|self|args|environ|example|x{4,}|not|used|[*.]{4,}"
)
MIN_KEY_CHARACTERS = 16
MIN_KEY_ENTROPY = 3.0  # bits a character; English words have about 2.5 at this length, random base64 about 4


def redact_secrets(text: str, counts: Counter[str]) -> str:
    """Return `text` with placeholders for keys and credentials, which are added to `counts`."""
    if "-----BEGIN" in text:
        text = _replace(_PEM, "KEY", text, counts)
    if any(prefix in text for prefix in _KEY_PREFIXES):
        text = _replace(_KNOWN_KEY, "KEY", text, counts)
    if "@" in text and "://" in text:
        text = _replace(_URL_LOGIN, "CREDENTIAL", text, counts)
    if "earer " in text:
        text = _replace(_BEARER, "CREDENTIAL", text, counts, prefix=r"\1")
    if "uthorization" in text or "UTHORIZATION" in text:
        text = _replace(_HEADER, "CREDENTIAL", text, counts, prefix=r"\1")
    return _redact_assigned(text, counts)


def _replace(pattern: re.Pattern[str], kind: str, text: str, counts: Counter[str], prefix: str = "") -> str:
    """Put a placeholder in place of every match; `prefix` is a template of what stays before it."""
    text, count = pattern.subn(f"{prefix}<{kind}>", text)
    if count:
        counts[kind] += count
    return text


def _redact_assigned(text: str, counts: Counter[str]) -> str:
    """Put placeholders in place of secrets that are assigned to a name.

    `_ASSIGNED` never reaches beyond a line, so only lines that hold a name are searched.
    """
    lowered = text.lower()
    places = _places_of_names(lowered)
    if not places:
        return text
    if len(lowered) != len(text):  # a letter such as the dotted capital I grew, so places differ
        return _redact_assignments(text, counts)
    pieces: list[str] = []
    done = 0  # characters of `text` in `pieces`
    for place in places:
        if place < done:
            continue
        start = text.rfind("\n", done, place) + 1 or done
        end = text.find("\n", place)
        if end < 0:
            end = len(text)
        pieces.append(text[done:start])
        pieces.append(_redact_assignments(text[start:end], counts))
        done = end
    return "".join(pieces) + text[done:]


def _places_of_names(lowered: str) -> list[int]:
    """Return where names stand to which a secret may be assigned, ascending."""
    places: set[int] = set()
    for stem, name in _ANY_NAME.items():
        if stem in lowered:
            places.update(match.start() for match in name.finditer(lowered))
    return sorted(places)


def _redact_assignments(text: str, counts: Counter[str]) -> str:
    return _ASSIGNED.sub(lambda match: _redact_assignment(match, counts), text)


def _redact_assignment(match: re.Match[str], counts: Counter[str]) -> str:
    """Return the assignment with a placeholder, or as it is where its value is no secret."""
    name, value, after = match["name"].lower(), match["value"], match["after"]
    before = match["name"] + match["is"] + match["quote"]
    is_password_name = name.startswith(("pass", "pwd", "secret", "credential"))
    if is_password_name and _is_password(value, match["is"], match["quote"], after):
        counts["CREDENTIAL"] += 1
        return f"{before}<CREDENTIAL>{after}"
    if looks_random(value) and after not in ("(", "["):
        counts["KEY"] += 1
        return f"{before}<KEY>{after}"
    return match[0]


def _is_password(value: str, sign: str, quote: str, after: str) -> bool:
    """Return whether the value of a password's name is one, and no expression or prose."""
    bare = value.strip(".,!?*:").lower()
    if not bare or _NO_SECRET.fullmatch(bare):
        return False
    if after in ("(", "[") or value.startswith(("$", "%", "{", "*", "\\", "/", "~")):
        return False
    has_digit = any(map(str.isdigit, value))
    has_letter = any(map(str.isalpha, value))
    if quote or sign == "=":
        return has_letter or has_digit
    return has_digit and has_letter  # "password: hunter2", but not "password: the one that"


def looks_random(value: str) -> bool:
    """Return whether a value is long, of letters and digits mixed, and of high entropy."""
    if len(value) < MIN_KEY_CHARACTERS:
        return False
    if not any(map(str.isdigit, value)) or not any(map(str.isalpha, value)):
        return False
    shares = [count / len(value) for count in Counter(value).values()]
    entropy = -sum(share * math.log2(share) for share in shares)
    return entropy >= MIN_KEY_ENTROPY
