"""Page of one document at every step: self-contained, light and dark, without scripts and requests."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from privllm.core.printable import WORDS, printable
from privllm.core.report import write_whole
from privllm.manage.show import Shown

TEMPLATE = "show.html.j2"
ELEMENTS = {"same": "span", "gone": "del", "new": "ins"}


def render_page(shown: Shown, out: Path) -> None:
    """Write the page to `out`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_printable_value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(TEMPLATE).render(shown=shown, fate=shown.fate, elements=ELEMENTS)
    write_whole(out, page + "\n")


def _printable_value(value: object) -> object:
    """Return a value as the page may show it: Jinja's own markup as it is, every other text without controls."""
    is_plain_text = isinstance(value, str) and not hasattr(value, "__html__")
    return printable(str(value), WORDS) if is_plain_text else value
