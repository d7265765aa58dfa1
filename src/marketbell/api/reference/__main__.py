"""`python -m marketbell.api.reference docs/api.md` writes that page's tables anew."""

from __future__ import annotations

import sys
from pathlib import Path

from marketbell.api.reference.tables import filled
from marketbell.api.routes import documented

_page = Path(sys.argv[1])
_page.write_text(filled(_page.read_text(), documented()))
