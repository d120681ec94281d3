"""HTML template for `dvc plots show` and `dvc plots diff` that needs no network.

DVC's own template loads the drawing library, vega, from a server; this one contains it, copied from the
installed vl-convert. `make setup` writes it where .dvc/config names it (0.9 MB, not in git).

    python -m privllm.report.plots_page .dvc/plots.html

The page's security policy allows no requests, and vega's menu has no "Open in Vega Editor", which would
send the figures to a web page.
"""

import sys
from pathlib import Path

from privllm.engine.digests import replacing

DIALECT = "5."  # of vega-lite, in which DVC writes its plots
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'unsafe-inline' 'unsafe-eval'",
        "style-src 'unsafe-inline'",
        "img-src data: blob: file: 'self'",
    ]
)
# reports/*.json, which dvc.yaml declares as plots only so that DVC's run cache restores them
HIDDEN = "div[id^=reports_][id$=_json]"
# DVC calls `vegaEmbed(place, plot)`.
DRAW = """
const menu = {actions: {export: true, source: true, compiled: false, editor: false}};
window.vegaEmbed = (place, plot) => vegaEmbed(place, plot, menu);
"""
# DVC fills in the names in single braces; {scripts}, its own scripts, is left out. The function keeps the
# library's names out of the page's.
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
    """Return the template: a page that needs no network."""
    import vl_convert

    versions = [version for version in vl_convert.get_vegalite_versions() if version.startswith(DIALECT)]
    newest = max(versions, key=lambda version: [int(number) for number in version.split(".")])
    library = vl_convert.javascript_bundle(DRAW, vl_version=newest)
    assert "</script" not in library.lower(), "it would end the page's script"
    return PAGE.replace("POLICY", POLICY).replace("HIDDEN", HIDDEN).replace("LIBRARY", library)


def main() -> None:
    with replacing(Path(sys.argv[1])) as partial:
        partial.write_text(plots_page(), "utf-8")


if __name__ == "__main__":
    main()
