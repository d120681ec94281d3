"""What the sender of a mail wrote: without quoted replies and signature.

In doubt a text is kept: a forward is no reply, and a prompt (">>> import os") no quotation.
"""

import re

SIGNATURE = re.compile(r"^-- $", re.MULTILINE)
MAX_SIGNATURE = 12  # lines; what follows "-- " in more lines is no signature
# Where a program took the space from "-- ", a few short lines must be all that follows, but for the footer of a list.
BARE_SIGNATURE = re.compile(
    r"^--\n(?:(?!>)[^\n]{1,72}\n){0,4}(?!>)[^\n]{1,72}\n*(?:_{20,}\n(?:[^\n]{0,100}\n){0,4}[^\n]{0,100}\n*)?\Z",
    re.MULTILINE,
)
# What mail programs write above a mail that they quote as a whole, in the languages of most mail.
ORIGINAL = re.compile(
    r"^[ \t]*(?:-{2,} ?(?:Original Message|Urspr\u00fcngliche Nachricht|Message d'origine|Mensaje original)"
    r" ?-{2,}|_{20,}[ \t]*\n(?:From|Von|De): )",
    re.MULTILINE | re.IGNORECASE,
)
# The block of headers that Outlook writes there; Gmail's, above a forward, has the subject before "To".
NAMES_OF_HEADERS = (
    ("From", "Sent|Date", "To", "Subject"),
    ("Von", "Gesendet|Datum", "An", "Betreff"),
    ("De", "Envoy\u00e9|Date", "\u00c0", "Objet"),
    ("De", "Enviado|Enviada|Fecha|Data", "Para", "Asunto|Assunto"),
    ("Da", "Inviato|Data", "A", "Oggetto"),
    ("Van", "Verzonden|Datum", "Aan", "Onderwerp"),
)
BLOCK = re.compile(
    "|".join(
        rf"^[ \t]*\*?{sender} ?:.+\n\*?(?:{sent}) ?:.+\n\*?{to} ?:.*\n(?:.+\n){{0,20}}?\*?(?:{subject}) ?:"
        for sender, sent, to, subject in NAMES_OF_HEADERS
    ),
    re.MULTILINE,
)
# The line above a mail that is passed on.
FORWARD = re.compile(
    r"^[ \t]*(?:-{2,60} ?(?!end ).{0,20}|Begin )(?:forwarded|weitergeleitete|transf\u00e9r\u00e9|reenviado|inoltrato|doorgestuurd).*$",
    re.MULTILINE | re.IGNORECASE,
)
FORWARD_SUBJECT = re.compile(r"\s*(?:fwd?|wg|tr|rv|enc)\s*:", re.IGNORECASE)
# No line of a signature begins with dashes, so each is read once, however many have no end.
PGP = re.compile(
    r"^-----BEGIN PGP SIGNATURE-----$(?:\n(?!-----).*)*\n-----END PGP SIGNATURE-----$"
    r"|^-----BEGIN PGP SIGNED MESSAGE-----$(?:\nHash: .*$)?",
    re.MULTILINE,
)
QUOTED = re.compile(r"^[ \t]*>.*$")
# "AB> text" quotes below a line that names who wrote it; elsewhere it is a prompt.
QUOTED_BY_INITIALS = re.compile(r"^[ \t]*(?:>|\w{1,3}> ).*$")
NAMED_WRITER = re.compile(r"(?:wrote|writes|schrieb|schreibt|\u00e9crit|escribi\u00f3)\b.{0,40}:[ \t]*$")
PROMPT = re.compile(r"^[ \t]*>>>(?: (?!>)|$)")  # of Python
# "On Thu, 26 Nov 2026, somebody wrote:" and its like: a line with a digit that ends in a colon, before a quotation.
ATTRIBUTION = re.compile(r"^(?=.*\d|.*@|.*(?:wrote|writes|schrieb|\u00e9crit|escribi\u00f3)).{0,200}:[ \t]*$")
# Its first line, where a mail program broke it in two.
ATTRIBUTION_BEGIN = re.compile(r"^(?:On|Am|Le|El|Il|Op|Em|In) .{0,200}\d")


def joined_lines(text: str, drops_space: bool) -> str:
    """Return a text as `format=flowed` means it (RFC 3676): a line that ends in a space goes on in the next."""
    paragraphs: list[list[str]] = []
    goes_on = False
    for line in text.replace("\r\n", "\n").split("\n"):
        is_own = not line.startswith(">")
        own_line = line.removeprefix(" ") if is_own else line  # what begins with "From " or ">" got a space
        if goes_on and is_own and own_line not in ("", "-- "):
            paragraphs[-1].append(own_line)
        else:
            paragraphs.append([own_line])
        goes_on = is_own and own_line.endswith(" ") and own_line != "-- "
        if goes_on and drops_space:
            paragraphs[-1][-1] = own_line[:-1]
    return "\n".join("".join(lines) for lines in paragraphs)


def is_forward(subject: str) -> bool:
    """Return whether a subject says that the mail passes on another."""
    return FORWARD_SUBJECT.match(subject) is not None


def written_text(text: str, subject: str = "") -> str:
    """Return what the sender wrote, without signature, quoted lines and what introduces them, and all that was passed on.

    A message that only quotes is returned whole.
    """
    text = text.replace("\r\n", "\n")
    body = PGP.sub("", text)
    original, forward = _begin(body, ORIGINAL, BLOCK), _begin(body, FORWARD)
    if is_forward(subject):
        forward = min(original, forward)
    own, passed_on = body[: min(original, forward)], body[forward:] if forward <= original else ""
    lines = _without_quotations(_without_signature(own).split("\n"))
    if passed_on:
        lines += ["", passed_on]
    written = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
    return written if written.strip() else text


def _begin(body: str, *patterns: re.Pattern[str]) -> int:
    """Return where the first match of some patterns begins, the end of `body` where there is none."""
    matches = [pattern.search(body) for pattern in patterns]
    return min((match.start() for match in matches if match), default=len(body))


def _without_signature(body: str) -> str:
    signatures = list(SIGNATURE.finditer(body))
    if signatures and body[signatures[-1].end() :].count("\n") <= MAX_SIGNATURE:
        body = body[: signatures[-1].start()]
    if bare := BARE_SIGNATURE.search(body):
        body = body[: bare.start()]
    return body


def _without_quotations(lines: list[str]) -> list[str]:
    prompts, quoted = _prompts(lines), QUOTED
    written_lines: list[str] = []
    for number, line in enumerate(lines):
        if NAMED_WRITER.search(line):
            quoted = QUOTED_BY_INITIALS
        if number in prompts or not quoted.match(line):
            written_lines.append(line)
        else:
            _drop_attribution(written_lines)
    return written_lines


def _prompts(lines: list[str]) -> set[int]:
    """Return the numbers of lines with a prompt: as one of a quotation, ">>>" stands beside lines with ">"."""
    prompts: set[int] = set()
    run: list[int] = []
    for number, line in enumerate([*lines, "end"]):
        if QUOTED.match(line):
            run.append(number)
        elif line.strip():
            if all(PROMPT.match(lines[quoted]) for quoted in run):
                prompts.update(run)
            run = []
    return prompts


def _drop_attribution(written_lines: list[str]) -> None:
    """Remove "... wrote:" from the end of the lines above a quotation."""
    while written_lines and not written_lines[-1].strip():
        written_lines.pop()
    if written_lines and ATTRIBUTION.match(written_lines[-1]):
        written_lines.pop()
        if written_lines and ATTRIBUTION_BEGIN.match(written_lines[-1]):  # it was broken once
            written_lines.pop()
    elif (
        len(written_lines) > 1
        and ATTRIBUTION_BEGIN.match(written_lines[-2])
        and written_lines[-1].rstrip().endswith(":")
    ):
        del written_lines[-2:]
    if written_lines:
        written_lines.append("")
