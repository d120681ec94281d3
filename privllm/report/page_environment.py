"""How pages are rendered: every text escaped and without characters that could reverse or break what stands around it."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from privllm.core.printable import WORDS, printable


def page_environment(templates: Path) -> Environment:
    """Return Jinja's environment for the templates in a folder; a name that a template has and nobody gave is an error."""
    return Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        finalize=printable_value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def printable_value(value: Any) -> Any:
    """Return a value as it may stand in a page: Jinja's own markup as it is, every other text printable."""
    is_markup = hasattr(value, "__html__")
    return printable(value, WORDS) if isinstance(value, str) and not is_markup else value
