"""
The command `marketbell`: one file per group of commands, each command a thin call.

Built with cyclopts: commands are plain typed functions, a group is imported only when it is
used, and what it prints on a mistake is ours to say. Typer needs click and imports every
command for `--help`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cyclopts import App

_GROUPS: Final = {
    "application": "Applications: one for each seller.",
    "endpoint": "Endpoints: where an application's messages go.",
    "event-type": "Event types of your own, with their schemas.",
    "message": "Messages: publish, look for, follow, send again.",
    "attempt": "Attempts: what was sent, and what was answered.",
    "task": "Background tasks: replays and other long work.",
    "audit": "The audit log: who changed what.",
}
"""The groups over the management API; each has a module of its name."""

_COMMANDS: Final = (
    ("serve", "serve:serve", "Accept, keep and deliver messages until stopped."),
    (
        "demo",
        "demo:demo",
        "Deliver every event of both marketplaces to a failing receiver, and judge it.",
    ),
    ("migrate", "migrate:migrate", "Bring the database's schema up to date, or make it."),
    ("doctor", "doctor:doctor", "Say what is not as it should be, and what to do about it."),
    ("token", "token:token_app", "Tokens for the management API."),
    ("secrets", "secrets:secrets_app", "The key that endpoints' secrets are sealed with."),
    *((name, "{0}:{0}_app".format(name.replace("-", "_")), text) for name, text in _GROUPS.items()),
    ("find", "find:find", "Whose an id is, how it stands, and where to look on."),
    ("catalogue", "catalogue:catalogue_app", "What each dialect's events look like."),
    (
        "sandbox",
        "sandbox:sandbox_app",
        "Both marketplaces, alive, to test a seller's software with.",
    ),
    (
        "completion",
        "completion:completion",
        "Print the script by which a shell completes commands.",
    ),
    ("version", "version:version", "Print the version."),
)
"""All commands: each one's name, the module and function behind it, and what it does."""


def build_app() -> App:
    """The application with all commands; none of their modules is imported yet."""
    import cyclopts

    import marketbell
    from marketbell.cli.exits import CODES, EPILOGUE, SETTINGS_EPILOGUE

    app = cyclopts.App(
        name="marketbell",
        help="The webhook server for marketplaces: a message in, webhooks out, nothing lost.",
        help_epilogue=EPILOGUE,
        version=marketbell.__version__,
        result_action="return_value",
        default_parameter=cyclopts.Parameter(show_default=_default_shown),
    )
    for name, target, text in _COMMANDS:
        settings = {"help_epilogue": SETTINGS_EPILOGUE} if name == "serve" else {}
        app.command(f"marketbell.cli.{target}", name=name, help=text, **settings)
    app.register_install_completion_command(
        help="Install completion for your shell.",
        help_epilogue=CODES,
    )
    return app


def _default_shown(value: object) -> str | None:
    """A default as --help shows it; that a flag or a list is not given says nothing."""
    return None if value is False or value in (None, ()) else str(value)


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments ask, say on stderr what went wrong, and return the exit code."""
    from cyclopts import CycloptsError
    from cyclopts.exceptions import UnusedCliTokensError

    from marketbell.cli import exits

    as_json = "--json" in arguments
    try:
        result = build_app()(list(arguments), exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except CycloptsError as error:
        fault = " ".join(str(error).split())
        if isinstance(error, UnusedCliTokensError):
            unused = " ".join(error.unused_tokens or ())
            fault = f"There is no place for {unused!r} here; --help says what is taken."
        return exits.tell_usage(fault, as_json=as_json)
    except BrokenPipeError:
        exits.give_up_stdout()
        return exits.Exit.OK
    except (Exception, KeyboardInterrupt) as error:
        return exits.tell(error, as_json=as_json)
    return result if isinstance(result, int) else exits.Exit.OK


def main() -> None:
    """The console script: `run` over the process's own arguments."""
    sys.exit(run(sys.argv[1:]))
