"""What the sender of a mail wrote: without quoted replies and signature."""

import re

SIGNATURE = re.compile(r"^-- ?$", re.MULTILINE)
# What mail programs write above a reply that they quote as a whole, in the languages of most mail.
ORIGINAL = re.compile(
    r"^[ \t]*(?:-{2,} ?(?:Original Message|Forwarded message|Urspr\u00fcngliche Nachricht|Message d'origine|Mensaje original)"
    r" ?-{2,}|_{20,}[ \t]*\n(?:From|Von|De): )",
    re.MULTILINE | re.IGNORECASE,
)
PGP = re.compile(
    r"^-----BEGIN PGP SIGNATURE-----$.*?^-----END PGP SIGNATURE-----$|^-----BEGIN PGP SIGNED MESSAGE-----$(?:\nHash: .*$)?",
    re.MULTILINE | re.DOTALL,
)
QUOTED = re.compile(r"^[ \t]*(?:>|\w{1,3}> ).*$")
# "On Thu, 26 Nov 2026, somebody wrote:" and its like: a line with a digit that ends in a colon, before a quotation.
ATTRIBUTION = re.compile(r"^(?=.*\d|.*@|.*(?:wrote|writes|schrieb|\u00e9crit|escribi\u00f3)).{0,200}:[ \t]*$")
# Its first line, where a mail program broke it in two.
ATTRIBUTION_BEGIN = re.compile(r"^(?:On|Am|Le|El|Il|Op|Em|In) .{0,200}\d")
MAX_SIGNATURE = 12  # lines; what follows "-- " in more lines is no signature


def written_text(text: str) -> str:
    """Return what the sender wrote: without signature, quoted lines and what introduces them.

    A message that only quotes is returned whole.
    """
    text = text.replace("\r\n", "\n")
    body = PGP.sub("", text)
    if original := ORIGINAL.search(body):
        body = body[: original.start()]
    signatures = list(SIGNATURE.finditer(body))
    if signatures and body[signatures[-1].end() :].count("\n") <= MAX_SIGNATURE:
        body = body[: signatures[-1].start()]
    written_lines: list[str] = []
    for line in body.split("\n"):
        if not QUOTED.match(line):
            written_lines.append(line)
            continue
        _drop_attribution(written_lines)
    written = re.sub(r"\n{3,}", "\n\n", "\n".join(written_lines)).strip("\n")
    return written if written.strip() else text


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
