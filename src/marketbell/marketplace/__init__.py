"""The marketplaces: their life cycles, the one ledger of their changes, and their own HTTP faces."""
