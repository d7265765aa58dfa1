"""`python -m marketbell.settings` prints docs/settings.md."""

from __future__ import annotations

import sys

from marketbell.settings.table import page

sys.stdout.write(page())
