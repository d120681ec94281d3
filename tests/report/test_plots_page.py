"""`dvc plots show` draws without a network: in Debian's Chromium where that is installed, and in any case by what the page names."""

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.workshop import ROOT, environment

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium")
PLOTS = """
plots:
  - curves/train.tsv: {x: step, y: loss}
  - curves/validation.tsv: {x: step, y: loss, template: scatter}
  - confusion.csv: {x: actual, y: predicted, template: confusion}
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
    shutil.copyfile(configured(ROOT), configured(root))
    (root / "curves").mkdir()
    for name in ("train", "validation"):
        (root / f"curves/{name}.tsv").write_text(
            "step\tloss\n" + "".join(f"{step}\t{9 - step / 10}\n" for step in range(50))
        )
    (root / "confusion.csv").write_text("actual,predicted\ncat,dog\n")
    (root / "reports/evaluate").mkdir(parents=True)
    (root / "reports/evaluate/causal.json").write_text(
        '{"loss": 1.5, "weak_spots": [{"kind": "source", "excess": 0.5}], "interval": [1, 2]}'
    )
    (root / "reports/tasks.json").write_text('{"derived": {}}')
    (root / "dvc.yaml").write_text(PLOTS)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run(["dvc", "plots", "show"], cwd=root, env=environment(), check=True, capture_output=True, timeout=120)
    return root / "dvc_plots/index.html"


def configured(root: Path) -> Path:
    """Where .dvc/config says that the template lies, relative to itself."""
    found = re.search(
        r"^\[plots\]\n\s+html_template = (\S+)$", (ROOT / ".dvc/config").read_text("utf-8"), flags=re.MULTILINE
    )
    assert found
    return root / ".dvc" / found[1]


def test_the_page_names_nothing_elsewhere(shown: Path) -> None:
    page = shown.read_text("utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    assert policy[1].startswith("default-src 'none';")
    assert not re.search(r"http|\*|unsafe-eval|connect-src", policy[1])
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//""", page)
    assert "jsdelivr" not in page
    assert page.count("vegaEmbed('#") == 5


def test_the_template_leaves_dvc_its_places() -> None:
    page = configured(ROOT).read_text("utf-8")
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
        line = page.locator("svg .curve").first.get_attribute("d")
        points = page.locator("#curves_validation_tsv svg .point").count()
        seen = [place.get_attribute("id") for place in page.locator("body > div").all() if place.is_visible()]
        words = page.locator("#curves_train_tsv svg").text_content()
        rows = page.locator("#confusion_csv tr").all_text_contents()
        with page.expect_download() as saving:
            page.get_by_text("Save as SVG").first.click()
        saved = ElementTree.parse(saving.value.path())
        browser.close()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert wrong == []
    assert seen == ["curves_train_tsv", "curves_validation_tsv", "confusion_csv"], "reports are no plots"
    assert (line or "").count("L") == 49, "the curve is there, not only its axes"
    assert points == 50
    assert all(word in (words or "") for word in ("curves/train.tsv", "loss", "step", "workspace"))
    assert rows == ["actualpredictedrev", "catdogworkspace"], "what is not drawn is shown in numbers"
    assert saved.getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(" not in ElementTree.tostring(saved.getroot(), "unicode")
