"""What MkDocs does to the pages of the API: cross references of docstrings become plain code."""

from __future__ import annotations

import re
from typing import Any

_ROLE = re.compile(r":(?:class|func|meth|data|attr|mod|exc):(?=<code>|`)")


def on_page_content(html: str, **_: Any) -> str:
    """Leave out Sphinx's word in front of a name, which this site does not need."""
    return _ROLE.sub("", html)
