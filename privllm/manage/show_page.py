"""Page of one document at every step: self-contained, light and dark, without scripts and requests."""

from pathlib import Path

from privllm.core.report import write_whole
from privllm.manage.show import Shown
from privllm.report.page_environment import page_environment

TEMPLATE = "show.html.j2"
ELEMENTS = {"same": "span", "gone": "del", "new": "ins"}


def render_page(shown: Shown, out: Path) -> None:
    """Write the page to `out`."""
    environment = page_environment(Path(__file__).parent)
    page = environment.get_template(TEMPLATE).render(shown=shown, fate=shown.fate, elements=ELEMENTS)
    write_whole(out, page + "\n")
