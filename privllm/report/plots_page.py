"""The page in which `dvc plots show` and `dvc plots diff` draw. DVC's own loads the drawing library, vega, from a server elsewhere; in this
one it stands itself, taken from vl-convert, which is installed. `make setup` writes it where .dvc/config names it (0.9 MB, not in git).

    python -m privllm.report.plots_page .dvc/plots.html

A browser is told to fetch nothing at all, and vega's menu has no "Open in Vega Editor", which would hand the figures to a web page.
"""

import sys
from pathlib import Path

from privllm.engine.digests import replacing

DIALECT = "5."  # of vega-lite, in which DVC writes its plots
POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob: file: 'self'"
HIDDEN = "div[id^=reports_][id$=_json]"  # reports/*.json, which dvc.yaml declares as plots only for DVC's run cache to know them
# DVC calls `vegaEmbed(place, plot)`.
DRAW = """
const menu = {actions: {export: true, source: true, compiled: false, editor: false}};
window.vegaEmbed = (place, plot) => vegaEmbed(place, plot, menu);
"""
# In single braces what DVC fills in; the place of its own scripts, {scripts}, is left out. The library's names stay inside a function.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="POLICY">
{refresh_tag}
<title>DVC Plot</title>
<style>table {border-spacing: 15px} HIDDEN {display: none}</style>
<script>(() => {LIBRARY})()</script>
</head>
<body>
{plot_divs}
</body>
</html>
"""


def plots_page() -> str:
    """The template: a page that needs no network."""
    import vl_convert

    versions = [version for version in vl_convert.get_vegalite_versions() if version.startswith(DIALECT)]
    newest = max(versions, key=lambda version: [int(part) for part in version.split(".")])
    library = vl_convert.javascript_bundle(DRAW, vl_version=newest)
    assert "</script" not in library.lower(), "the page's own script would end there"
    return PAGE.replace("POLICY", POLICY).replace("HIDDEN", HIDDEN).replace("LIBRARY", library)


def main() -> None:
    with replacing(Path(sys.argv[1])) as partial:
        partial.write_text(plots_page(), "utf-8")


if __name__ == "__main__":
    main()
