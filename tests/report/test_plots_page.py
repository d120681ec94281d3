"""`dvc plots show` draws without a network: in Debian's Chromium where that is installed, and in any case by what the page names."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from privllm.report.plots_page import POLICY, plots_page
from tests.workshop import ROOT, environment

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium")
PLOTS = """
plots:
  - curves/train.tsv: {x: step, y: loss}
  - curves/validation.tsv: {x: step, y: loss, template: scatter}
  - reports/evaluate/causal.json
  - reports/tasks.json
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `dvc plots show` makes of two curves with this repository's configuration."""
    root = tmp_path_factory.mktemp("plots")
    (root / ".dvc").mkdir()
    for name in ("config", ".gitignore"):
        shutil.copyfile(ROOT / ".dvc" / name, root / ".dvc" / name)
    template = configured(root)
    subprocess.run([sys.executable, "-m", "privllm.report.plots_page", template], cwd=ROOT, check=True, timeout=120)
    (root / "curves").mkdir()
    for name in ("train", "validation"):
        (root / f"curves/{name}.tsv").write_text(
            "step\tloss\n" + "".join(f"{step}\t{9 - step / 10}\n" for step in range(50))
        )
    (root / "reports/evaluate").mkdir(parents=True)
    (root / "reports/evaluate/causal.json").write_text(
        '{"loss": 1.5, "weak_spots": [{"kind": "source", "excess": 0.5}], "interval": [1, 2]}'
    )
    (root / "reports/tasks.json").write_text('{"derived": {}}')
    (root / "dvc.yaml").write_text(PLOTS)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    assert subprocess.run(["git", "check-ignore", "-q", template], cwd=root).returncode == 0, "nobody commits it"
    subprocess.run(["dvc", "plots", "show"], cwd=root, env=environment(), check=True, capture_output=True, timeout=120)
    return root / "dvc_plots/index.html"


def configured(root: Path) -> Path:
    """Where .dvc/config says that the template lies, relative to itself."""
    found = re.search(
        r"^\[plots\]\n\s+html_template = (\S+)$", (ROOT / ".dvc/config").read_text("utf-8"), flags=re.MULTILINE
    )
    assert found
    return root / ".dvc" / found[1]


def test_make_setup_writes_what_dvc_is_told_to_use() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    template = configured(ROOT).relative_to(ROOT).as_posix()
    assert re.search(rf"^setup: .*\b{re.escape(template[1:])}\b", makefile, flags=re.MULTILINE)
    assert f"\n{template}: .venv/installed\n\t@python -P -m privllm.report.plots_page $@\n" in makefile


def test_the_page_names_nothing_elsewhere(shown: Path) -> None:
    page = shown.read_text("utf-8")
    assert f'content="{POLICY}"' in page
    assert "http" not in POLICY
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//""", page)
    assert "jsdelivr" not in page
    assert page.count("vegaEmbed('#") == 4


def test_the_template_leaves_dvc_its_places() -> None:
    page = plots_page()
    assert page.count("{plot_divs}") == page.count("{refresh_tag}") == 1
    assert "{scripts}" not in page


@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed (apt-get install chromium)")
def test_a_browser_draws_it_and_asks_nobody(shown: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page, asked, wrong = browser.new_page(), [], []
        page.on("request", lambda sent: asked.append(sent.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.goto(shown.as_uri())
        page.wait_for_function("document.querySelectorAll('svg.marks').length >= 2", timeout=30_000)
        line = page.locator("svg .mark-line path").first.get_attribute("d")
        points = page.locator("svg .mark-symbol path").count()
        seen = [place.get_attribute("id") for place in page.locator("body > div").all() if place.is_visible()]
        menu = page.locator(".vega-actions").first.text_content()
        browser.close()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert wrong == []
    assert seen == ["curves_train_tsv", "curves_validation_tsv"], "reports are no plots"
    assert (line or "").count("L") == 49, "the curve is there, not only its axes"
    assert points >= 50
    assert "Save as SVG" in (menu or "")
    assert "Editor" not in (menu or "")
