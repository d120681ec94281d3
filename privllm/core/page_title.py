"""The <title> of an HTML page, found by a pattern that takes time linear in the page.

>>> title_of("<head><TITLE lang=en> Pumps &amp;\\n valves </title>")
'Pumps & valves'
"""

import re
from html import unescape

MAX_TITLE = 2_000  # characters that are looked at
_TITLE = re.compile(rf"<title[^<>]{{0,200}}>([^<]{{0,{MAX_TITLE}}})", re.IGNORECASE)


def title_of(markup: str) -> str:
    """Return what stands in the page's <title>, on one line and without references; "" for none."""
    found = _TITLE.search(markup)
    return " ".join(unescape(found[1]).split()) if found else ""
