"""`python -m marketbell.marketplace.ovoko.description` prints docs/marketplaces/ovoko-openapi.json."""

from __future__ import annotations

import sys

from marketbell.marketplace.ovoko.description.document import written

sys.stdout.write(written())
