"""HTML template for `dvc plots show` and `dvc plots diff` that needs no network.

DVC's own template loads the drawing library, Vega, from a server; this one, plots_page.html, draws by itself what
DVC describes in Vega-Lite, as far as it is lines or points; of other plots it shows the numbers.
`make setup` writes it where .dvc/config names it.

    python -m privllm.report.plots_page .dvc/plots.html

The page's security policy allows no requests.
"""

import sys
from pathlib import Path

from privllm.engine.digests import replacing

TEMPLATE = Path(__file__).with_suffix(".html")


def main() -> None:
    with replacing(Path(sys.argv[1])) as partial:
        partial.write_bytes(TEMPLATE.read_bytes())


if __name__ == "__main__":
    main()
