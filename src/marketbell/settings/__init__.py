"""The server's settings: one frozen value from four sources, checked whole at the start."""

from __future__ import annotations

from marketbell.settings.fields import DEFAULTS, POLICY_KEYS, Settings
from marketbell.settings.files import ensure_files, files_needed
from marketbell.settings.load import NOT_SETTINGS, load_settings
from marketbell.settings.secrets import (
    begin_key_change,
    end_key_change,
    ensure_secrets,
    secrets_file,
)
from marketbell.settings.table import (
    SECTIONS,
    SETTINGS,
    default_of,
    flag_of,
    markdown,
    sections,
    variable_of,
)
from marketbell.settings.values import (
    BadValueError,
    Network,
    Setting,
    read_duration,
    read_size,
    show_duration,
    show_size,
)

__all__ = [
    "DEFAULTS",
    "NOT_SETTINGS",
    "POLICY_KEYS",
    "SECTIONS",
    "SETTINGS",
    "BadValueError",
    "Network",
    "Setting",
    "Settings",
    "begin_key_change",
    "default_of",
    "end_key_change",
    "ensure_files",
    "ensure_secrets",
    "files_needed",
    "flag_of",
    "load_settings",
    "markdown",
    "read_duration",
    "read_size",
    "secrets_file",
    "sections",
    "show_duration",
    "show_size",
    "variable_of",
]
