"""Data Docs on one page that needs nothing else: Great Expectations' own renderers inside a page of ours.

Its template loads styles, scripts and images from seven places on the internet and prints run ids and times; ours has
one inline stylesheet, so the page opens without a network and is byte-identical whenever the results are.
"""

import html
import math
from collections.abc import Mapping
from copy import deepcopy
from itertools import count
from pathlib import Path
from typing import Any

import privllm.core.offline  # noqa: F401  isort: skip
from great_expectations.core.expectation_validation_result import (
    ExpectationSuiteValidationResult,
    ExpectationValidationResult,
)
from great_expectations.render import RenderedDocumentContent, RenderedSectionContent
from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView
from jinja2 import ChoiceLoader, DictLoader

from privllm.validate.suite import Outcome, Results

COUNTED = ("element_count", "unexpected_count", "unexpected_percent", "missing_count")
TITLES = {
    "shards": "Shards",
    "documents": "Documents",
    "reasons": "What was left out",
    "totals": "The corpus as a whole",
}
FIGURES = {
    "documents": ("Documents", "{:,}"),
    "survival_rate": ("Survived reading and cleaning", "{:.1%}"),
    "language_share": ("Language {language}", "{:.1%}"),
    "mean_characters": ("Mean length, characters", "{:,.0f}"),
    "placeholder_density": ("Placeholders per 1,000 words", "{:.1f}"),
    "leftover_personal_data": ("Left-over personal data", "{:,}"),
}

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Data Docs: the corpus</title>
<style>{{ style }}</style>
</head>
<body>
<header>
<h1>Data Docs <small>the corpus that the model learns from</small></h1>
<p><a href="../index.html#validation">Build report</a></p>
<p class="verdict {{ 'text-danger' if stopped else 'text-success' }}">{{ verdict }}</p>
<dl>{% for label, value in figures %}<div><dt>{{ label }}</dt><dd>{{ value }}</dd></div>{% endfor %}</dl>
{% if failed %}<table>
<thead><tr><th>Failed expectation</th><th>Severity</th><th>Observed</th><th>Allowed</th><th>For example</th></tr></thead>
<tbody>{% for outcome in failed %}<tr>
<td>{{ outcome.check.name | e }}</td><td class="word">{{ outcome.check.severity }}</td><td>{{ outcome.observed | e }}</td>
<td>{{ outcome.check.allowed }}</td>
<td>{% for name in outcome.which %}<div>{{ name | e }}</div>{% endfor %}</td></tr>{% endfor %}</tbody></table>{% endif %}
</header>
<main>
{% for section in sections %}{% if loop.changed(section.section_name) %}<h2>{{ section.section_name }}</h2>{% endif %}
{% set section_loop = loop %}{% include 'section.j2' %}{% endfor %}
</main>
<footer>Rendered by Great Expectations {{ ge_version }}.</footer>
</body>
</html>
"""

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1c2128; --soft: #59636e; --page: #fff; --line: #d1d9e0; --card: #f6f8fa; --good: #1a7f37; --bad: #cf222e;
}
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9198a1; --page: #0d1117; --line: #3d444d; --card: #151b23; --good: #3fb950; --bad: #f85149; }
}
html { background: var(--page); }
body { margin: 0 auto; padding: 1.5rem; max-width: 70rem; color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.5rem; } h1 small, footer, dt, em { color: var(--soft); font-weight: normal; font-size: 0.85rem; }
h2 { margin: 2.5rem 0 0; font-size: 1.2rem; } h5 { margin: 1.5rem 0 0.25rem; font-size: 1rem; }
a { color: inherit; } .verdict { font-weight: 600; } .text-danger { color: var(--bad); } .text-success { color: var(--good); }
dl { display: flex; flex-wrap: wrap; gap: 0.75rem; margin: 1rem 0; }
dl div { padding: 0.5rem 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 6px; }
dd { margin: 0; font-size: 1.2rem; font-variant-numeric: tabular-nums; }
.table-responsive, header { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; } table table { margin-top: 0.5rem; width: auto; }
th, td { padding: 0.4rem 0.75rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
td { overflow-wrap: break-word; } td > div { overflow-wrap: anywhere; }
.word, th { white-space: nowrap; }
th { color: var(--soft); font-weight: 600; font-size: 0.85rem; }
main > div > div > div > table th:first-child { width: 4rem; } main > div > div > div > table th:nth-child(3) { width: 12rem; }
.fas { font-style: normal; } .fa-check-circle::before { content: "✔"; } .fa-times::before { content: "✘"; }
.fa-exclamation-triangle::before { content: "⚠"; }
footer { margin-top: 2rem; }
"""


def write_docs(results: Results, outcomes: list[Outcome], figures: Mapping[str, Any], path: Path) -> None:
    """Write the page of all `results`; `figures` is the one row of the table `totals`."""
    sections: list[RenderedSectionContent] = []
    for table, result in results.items():
        sections += sections_of(table, result, figures)
    document = RenderedDocumentContent(
        sections=sections, renderer_type="ValidationResultsPageRenderer", page_title="Data Docs"
    )
    page = view().render(document, **heading(outcomes, figures), style=STYLE)
    lines = [line.rstrip() + "\n" for line in page.splitlines() if line.strip()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), "utf-8")


def view() -> DefaultJinjaPageView:
    """Return Great Expectations' view with our page around its sections and with element ids that are counted, not drawn."""
    page = DefaultJinjaPageView()
    theirs = page.env.loader
    assert theirs is not None
    page.env.loader = ChoiceLoader([DictLoader({"page.j2": PAGE}), theirs])
    ids = count()
    page.env.filters["generate_html_element_uuid"] = lambda prefix="": f"{prefix or ''}{next(ids)}"
    return page


def sections_of(
    table: str, result: ExpectationSuiteValidationResult, figures: Mapping[str, Any]
) -> list[RenderedSectionContent]:
    """Return one section per judged column, under its table's name.

    The overview (run ids, times, links) is left out.
    """
    table_figures = figures if table == "totals" else {}
    results = [presented(single, table_figures) for single in result.results]
    plain = ExpectationSuiteValidationResult(bool(result.success), results, table, {}, result.statistics, {})
    _, *sections = ValidationResultsPageRenderer().render(plain).sections
    for section in sections:
        section.section_name = TITLES[table]
    return sections


def presented(result: ExpectationValidationResult, figures: Mapping[str, Any]) -> ExpectationValidationResult:
    """Return a copy that says its severity and, of the corpus as a whole, the figure judged.

    It has no failing values: they are anyone's words, and Great Expectations' templates do not escape
    them; our own table shows those rows, escaped.
    """
    copied = deepcopy(result)
    config = copied.expectation_config
    assert config is not None
    config.description = f"{config.description} <em>{config.meta['severity']}</em>"
    copied.result = {key: value for key, value in result.result.items() if key in COUNTED}
    judged_values = []
    for key in ("column", "column_A", "column_B"):
        column = config.kwargs.get(key, "")
        value = figures.get(column, math.nan)
        if not math.isnan(value):
            judged_values.append(f"{value:.4g}" if isinstance(value, float) else str(value))
    if judged_values:
        copied.result["observed_value"] = ", ".join(judged_values)
    return copied


def heading(outcomes: list[Outcome], figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page's template shows above the sections."""
    failed = [outcome for outcome in outcomes if not outcome.passed]
    stopped = sum(outcome.failed_critical for outcome in failed)
    passed = f"{len(outcomes) - len(failed)} of {len(outcomes)} expectations are met"
    verdict = f"{passed}; no critical one failed."
    if stopped:
        verdict = f"{passed}; {stopped} critical failed: the build stops."
    language = html.escape(figures["language"] or "unknown")
    shown_figures = []
    for key, (label, form) in FIGURES.items():
        shown_figures.append((label.format(language=language), form.format(figures[key])))
    return {"failed": failed, "stopped": stopped, "verdict": verdict, "figures": shown_figures}
