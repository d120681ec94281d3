"""The command `privllm show`, and how a document looks in a terminal."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privllm.cli.error_handling import commands_of
from privllm.core.printable import WORDS, printable, say
from privllm.engine.pipeline import require_root

if TYPE_CHECKING:
    from rich.text import Text

    from privllm.manage.show import Shown
    from privllm.manage.word_diff import Segment

STYLES = {"same": "", "gone": "red strike", "new": "bold green"}
MARKS = {"same": ("", ""), "gone": ("[-", "-]"), "new": ("{+", "+}")}  # where there is no colour
LONGEST = 800  # characters of a stretch; of a longer one both ends are shown
TOKENS = 200  # shown in a terminal
TOKEN_STYLES = ("black on white", "black on bright_cyan")


def add_to(app: typer.Typer) -> None:
    """Register the command of this module."""
    commands_of(app)(show)


def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID|PATH", help="A document below data/sources (pages/a.html, inbox.mbox#id), or an id."
        ),
    ],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write all of it to a page that needs no network.")
    ] = None,
) -> None:
    """Show one document at every step: raw and clean text word by word, which personal data were
    replaced, why it was dropped, what its survivor says, and its tokens as they are packed.

    What it shows holds the personal data that `clean` replaces; so does the page of --html.
    """
    from rich.console import Console

    from privllm.manage.show import show as show_document
    from privllm.manage.show_page import render_page

    require_root()
    shown = show_document(Path(), name)
    if html:
        render_page(shown, html)
        say(f"{html} shows {shown.fate.source}, with the personal data that it had.")
        return
    console = Console(highlight=False, soft_wrap=True)
    for line in lines_of(shown, has_colour=console.color_system is not None):
        console.print(line)


def lines_of(shown: "Shown", has_colour: bool) -> Iterator["Text"]:
    """Yield what is shown, as lines for rich. Without colours, what is gone and what is new stand between marks."""
    from rich.text import Text

    fate = shown.fate
    yield Text(printable(fate.source or fate.id), "bold")
    yield Text(printable(f"  id        {fate.id}"))
    yield Text(printable(f"  fate      {fate.fate}" + (f" ({fate.why})" if fate.why else "")))
    for stage, made in shown.steps():
        yield Text(printable(f"  {stage:<9} {made}"))
    if fate.fate == "not built yet":
        yield Text("  `dvc repro` builds it; this is the text that it will read.")
    if shown.replaced:
        yield Text("\npersonal data", "bold")
        for pair in shown.replaced:
            yield Text(printable(f"  {pair.after}  was  {pair.before or '(see the text)'}"))
    if shown.cleaning:
        title = "raw text -> clean text" if fate.clean else "raw text"
        yield Text(f"\n{title}", "bold")
        yield diff_text(shown.cleaning, has_colour)
    if shown.survivor:
        yield Text("\nits clean text -> the survivor's", "bold")
        yield diff_text(shown.survivor, has_colour)
    if shown.entities:
        yield Text("\nnames", "bold")
        yield Text(printable("  " + ", ".join(f"{entity.text} ({entity.label})" for entity in shown.entities)))
    if shown.tokens:
        yield Text(f"\ntokens, {min(TOKENS, len(shown.tokens)):,} of {len(shown.tokens):,}", "bold")
        yield tokens_text(shown.tokens[:TOKENS], has_colour)


def diff_text(segments: list["Segment"], has_colour: bool) -> "Text":
    """Return the segments of a difference in their colours."""
    from rich.text import Text

    text = Text()
    for kind, stretch in segments:
        before, after = ("", "") if has_colour else MARKS[kind]
        text.append(f"{before}{_shortened(printable(stretch, WORDS))}{after}", STYLES[kind])
    return text


def tokens_text(tokens: list[str], has_colour: bool) -> "Text":
    """Return tokens so that one can see where each ends."""
    from rich.text import Text

    text = Text()
    for place, token in enumerate(tokens):
        visible = printable(token).replace(" ", "\u00b7") or "\ufffd"
        text.append(visible if has_colour else f"{visible}|", TOKEN_STYLES[place % 2])
    return text


def _shortened(stretch: str) -> str:
    if len(stretch) <= LONGEST:
        return stretch
    half = LONGEST // 2
    return f"{stretch[:half]} [... {len(stretch) - 2 * half:,} characters ...] {stretch[-half:]}"
