import os
import subprocess
import sys
from pathlib import Path

import pytest

from privllm.collect import demo, pydoc_pages
from privllm.core.errors import UserError

# Modules whose defaults, data or documentation hold paths, environment variables, addresses or sets.
MODULES = [
    "cgi",
    "configparser",
    "email.mime.audio",
    "getpass",
    "http.client",
    "inspect",
    "os",
    "platform",
    "site",
    "string",
    "sys",
    "tempfile",
    "unittest.main",
]
TELLTALES = [name for name in MODULES if name.partition(".")[0] in sys.stdlib_module_names]  # Python 3.13 has no cgi
ELSEWHERE = """
import sys
from pathlib import Path
from privllm.collect.demo import render_pages
render_pages(sys.argv[2:], Path(sys.argv[1]))
"""


def pages(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.html")}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    demo.render_pages(TELLTALES, folder)
    return folder


@pytest.mark.slow
def test_pages_are_equal_from_another_home_folder_time_zone_and_hash_seed(here: Path, tmp_path: Path) -> None:
    there, home = tmp_path / "there", tmp_path / "canary-home"
    for folder in (there, home):
        folder.mkdir()
    root = str(Path(demo.__file__).parents[2])
    foreign = {
        "HOME": str(home),
        "PYTHONHASHSEED": "77",
        "TZ": "Asia/Tokyo",
        "USER": "canary",
        "PYTHONPATH": root,
        "LANG": "de_DE.UTF-8",
        "TOKEN": "canary",
    }
    subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(there), *TELLTALES], env=foreign, cwd=home, check=True, timeout=60
    )
    assert set(pages(here)) == {f"{name}.html" for name in TELLTALES}
    assert pages(here) == pages(there)


def test_pages_tell_nothing_of_this_machine(here: Path) -> None:
    text = b"".join(pages(here).values()).decode()
    private = {
        sys.prefix,
        sys.executable,
        str(Path.home()),
        str(Path.cwd()),
        str(Path(os.__file__).parent),
        "nonexistent",
        "0x7f",
    } - {"/"}
    assert [word for word in private if word in text] == []
    assert "ConfigParser" in text


def test_pages_show_python_and_nothing_of_ours(here: Path) -> None:
    """`inspect.signature` is replaced while pages are rendered, and `inspect` has a page too."""
    page = "".join((here / "inspect.html").read_text("utf-8").replace("&nbsp;", " ").split())  # 3.13 breaks long lines
    assert "<strong>signature</strong></a>(obj,*,follow_wrapped=True" in page
    assert "plain_signature" not in page
    assert "environmentoraddress" not in page


def test_the_demo_is_made_once_and_leaves_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "modules", lambda: ["json", "json.decoder", "no_such_module"])
    (tmp_path / ".gitignore").write_text("*")
    assert demo.build_demo(tmp_path) == 2
    page = tmp_path / "demo" / "json.html"
    assert page.read_text().startswith("<!DOCTYPE html")
    page.write_text("mine")
    (tmp_path / "demo" / "json.decoder.html").unlink()
    assert demo.build_demo(tmp_path) == 2
    assert page.read_text() == "mine"
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == ["json.decoder.html", "json.html"]


def test_the_demo_does_not_mix_with_documents(tmp_path: Path) -> None:
    (tmp_path / "contract.txt").write_text("mine")
    with pytest.raises(UserError, match=r"already holds documents \(contract\.txt\)"):
        demo.build_demo(tmp_path)
    assert not (tmp_path / "demo").exists()


def test_no_page_at_all_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "modules", lambda: ["no_such_module"])
    with pytest.raises(UserError, match="could not document"):
        demo.build_demo(tmp_path)


def test_modules_are_many_public_and_harmless() -> None:
    names = demo.modules()
    assert {"asyncio.base_events", "builtins", "json", "xml.etree.ElementTree"} <= set(names)
    assert not {"antigravity", "this", "test", "idlelib", "_thread", "encodings.__init__"} & set(names)
    assert names == sorted(names, key=lambda name: name.split("."))
    assert len(names) == len(set(names)) > 400


@pytest.mark.parametrize(
    "action",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import subprocess; subprocess.run(['true'])",
        "open('outside.txt', 'w')",
        "import os; os.open('outside.txt', os.O_CREAT | os.O_WRONLY)",
        "import webbrowser; webbrowser.BackgroundBrowser('true').open('http://localhost')",
    ],
)
def test_a_module_that_acts_when_imported_is_refused(tmp_path: Path, action: str) -> None:
    guarded = (
        f"import pathlib, pydoc_pages; pydoc_pages.restrict_to(pathlib.Path({str(tmp_path / 'pages')!r}))\n{action}"
    )
    done = subprocess.run(
        [sys.executable, "-c", guarded],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(demo.__file__).parent)},
        capture_output=True,
        timeout=30,
    )
    assert b"PermissionError" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_default_value_shows_only_what_is_the_same_everywhere() -> None:
    shown = [
        repr(pydoc_pages.Default(value))
        for value in (1, None, "utf-8", ("=", ":"), "/home/zoe", dict, len, {"a"}, object())
    ]
    assert shown == ["1", "None", "'utf-8'", "('=', ':')", "(str)", "dict", "len", "(set)", "(object)"]
