"""
`python -m support.forgetful SECONDS`: a server that keeps nothing longer than no setting allows.

As `marketbell serve --json` with settings from the environment, but payloads are kept for so many
seconds, attempts and messages for somewhat longer: so retention can be watched at work.
"""

from __future__ import annotations

import os
import sys

import msgspec

from marketbell.cli.serve import serve_here
from marketbell.settings import Settings, ensure_files, ensure_secrets, load_settings


def forgetful(settings: Settings, seconds: float) -> Settings:
    """The settings with ages that are short."""
    age = int(1_000 * seconds)
    return msgspec.structs.replace(
        settings,
        payload_retention=age,
        attempt_retention=age * 5 // 4,
        message_retention=age * 3 // 2,
        prune_interval=1_000,
    )


def main() -> None:
    """Serve until SIGTERM."""
    settings = forgetful(load_settings({}, os.environ, None), float(sys.argv[1]))
    settings = ensure_secrets(settings)
    ensure_files(settings)
    serve_here(settings, as_json=True)


if __name__ == "__main__":
    main()
