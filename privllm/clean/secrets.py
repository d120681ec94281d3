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
_URL_LOGIN = re.compile(r"(?<=://)[^\s/@:<>\"']{1,128}:[^\s/@<>\"']{1,256}(?=@)")
_HEADER = re.compile(
    r"(?i)(?<!\w)((?:proxy-)?authorization[\"']?[ \t]{0,4}[:=,][ \t]{0,4}[\"']?(?:bearer|basic|token|apikey|digest)[ \t]{1,4})"
    r"[A-Za-z0-9._~+/=-]{6,4096}"
)
_BEARER = re.compile(r"(?<!\w)([Bb]earer )(?=[A-Za-z._~+/-]{0,64}\d)[A-Za-z0-9._~+/-]{16,4096}={0,2}")
_ASSIGNED = re.compile(
    r"(?i)(?<![^\W_])(?P<name>pass(?:word|wd|phrase|code|wort)?|pwd|kennwort|secret(?:[_-]?(?:access[_-]?)?key)?|token|credentials?"
    r"|(?:api|access|private|encryption|signing|auth)[_-]?(?:key|token))(?P<is>[\"']?(?:[ \t]{0,4}(?::=|=>|=|:)[ \t]{0,4}| is ))"
    # Quoted, it may be several words.
    r"(?P<quote>[\"'`]?)(?P<value>(?<=[\"'])[^\"'<>\n]{4,128}(?=[\"'])|[^\s\"'`<>,;(){}\[\]&|]{4,512})(?P<after>[\"'`(\[{.]?)"
)
# Where a secret may stand, in a text of lower case with 0 for every digit (`pii` makes it). A pattern that starts with a
# plain character is searched ten times faster, so each starts in the middle and looks back.
_ASSIGNMENT = rb"[a-z_-]{0,12}[\"']?(?:[ \t]{0,4}[:=]| is )"
_TRIGGERS = (
    re.compile(
        rb"_(?:(?<=gh[pousr]_)[a-z0]{36}|(?<=github_pat_)\w{22}|(?<=k_live_|k_test_)\w{10}|(?<=hf_)\w{30}|(?<=npm_)\w{36})"
    ),
    re.compile(rb"-(?:(?<=glpat-)[\w-]{20}|(?<=xox[abeoprs]-)[a-z0-]{10}|(?<=sk-)[\w-]{20}|(?<=pypi-)[\w-]{50})"),
    re.compile(rb"://[^\s/@:<>\"']{1,128}:[^\s/@<>\"']{1,256}@"),
    re.compile(rb"bearer "),
    re.compile(rb"z(?<=authoriz)ation"),
    re.compile(rb"p(?:ass|wd)" + _ASSIGNMENT),
    re.compile(rb"k(?:ey(?<=[_isenght-]key)|en(?<=token)|ennwort)" + _ASSIGNMENT),
    re.compile(rb"cre(?:dential|t(?<=secret))" + _ASSIGNMENT),
)
_CASED_TRIGGERS = (
    re.compile(r"A(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16}"),
    re.compile(r"J(?<=eyJ)(?<![A-Za-z0-9_-]eyJ)[\w-]{8,4000}\.eyJ"),
    re.compile(r"AIza[\w-]{35}"),
)
_HAS_STEM = re.compile("pass|pwd|kennwort|secret|key|token|credential")
# Words that stand in the place of a secret in code and manuals.
_NO_SECRET = re.compile(
    "none|null|nil|true|false|undefined|str|string|bytes|text|int|bool|char|varchar|optional|required|default|empty|password|passwd|pwd|pass|secret"
    "|token|key|value|your|yourpassword|changeme|getpass|input|self|args|environ|example|x{4,}|not|used|[*.]{4,}"
)
# "The password is MD5-encrypted", "password: 8-character": words of prose that have a digit.
_PROSE = re.compile(
    r"\w*\d\w*(?:-[a-z]+)*-(?:[a-z]+ed|bits?|bytes?|characters?|digits?|letters?|words?|only|like|style|safe|compatible|long|way|fold)"
    r"|(?:md|sha-?|utf-?|base|aes-?|rc|crypt|pbkdf|[23]?des|argon)-?\d*"
)
MIN_KEY_CHARACTERS = 16
MIN_KEY_ENTROPY = 3.0  # bits a character; English words have about 2.5 at this length, random base64 about 4


def redact_private_keys(text: str, counts: Counter[str]) -> str:
    """Return `text` with placeholders for private keys, the only secrets of several lines."""
    if "-----BEGIN" in text:
        text = _replace(_PEM, "KEY", text, counts)
    return text


def places_of_secrets(text: str, shade: bytes) -> list[int]:
    """Return a place in each secret, of all that `redact_secrets` finds, or that may be one.

    shade: a byte for each character of `text`, in lower case and with 0 for digits.
    """
    places: list[int] = []
    for trigger in _TRIGGERS:
        places += [match.start() for match in trigger.finditer(shade)]
    for cased in _CASED_TRIGGERS:
        places += [match.start() for match in cased.finditer(text)]
    return places


def redact_secrets(line: str, counts: Counter[str]) -> str:
    """Return a line with placeholders for keys and credentials, which are added to `counts`."""
    line = _replace(_KNOWN_KEY, "KEY", line, counts)
    if "@" in line and "://" in line:
        line = _replace(_URL_LOGIN, "CREDENTIAL", line, counts)
    if "earer " in line:
        line = _replace(_BEARER, "CREDENTIAL", line, counts, prefix=r"\1")
    if "uthorization" in line or "UTHORIZATION" in line:
        line = _replace(_HEADER, "CREDENTIAL", line, counts, prefix=r"\1")
    if _HAS_STEM.search(line.lower()):
        line = _ASSIGNED.sub(lambda match: _redact_assignment(match, counts), line)
    return line


def _replace(pattern: re.Pattern[str], kind: str, text: str, counts: Counter[str], prefix: str = "") -> str:
    """Put a placeholder in place of every match; `prefix` is a template of what stays before it."""
    text, count = pattern.subn(f"{prefix}<{kind}>", text)
    if count:
        counts[kind] += count
    return text


def _redact_assignment(match: re.Match[str], counts: Counter[str]) -> str:
    """Return the assignment with a placeholder, or as it is where its value is no secret."""
    name, value, after = match["name"].lower(), match["value"], match["after"]
    before = match["name"] + match["is"] + match["quote"]
    is_password_name = name.startswith(("pass", "pwd", "kennwort", "secret", "credential"))
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
    if not bare or _NO_SECRET.fullmatch(bare) or (not quote and _PROSE.fullmatch(bare)):
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
