from pathlib import Path

import pytest
from jinja2 import UndefinedError

from privllm.report.page_environment import page_environment
from tests.hostile import EVIL, obeyed


def rendered(folder: Path, template: str, **values: object) -> str:
    (folder / "page.j2").write_text(template)
    return page_environment(folder).get_template("page.j2").render(**values)


def test_texts_are_escaped_and_printable_and_markup_stays(tmp_path: Path) -> None:
    page = rendered(tmp_path, "{{ text }}|{{ chart | safe }}|{{ number }}", text=f"<i>{EVIL}", chart="<svg>", number=3)
    assert not obeyed(page)
    assert page.startswith("&lt;i&gt;")
    assert page.endswith("|<svg>|3")


def test_a_name_that_nobody_gave_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UndefinedError, match="missing"):
        rendered(tmp_path, "{{ missing }}")
