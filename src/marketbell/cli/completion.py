"""`marketbell completion`: the script by which a shell completes commands and options."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from marketbell.cli.options import JsonFlag
from marketbell.cli.tables import print_json


def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish", "powershell"], Parameter(help="For which shell.")
    ],
    *,
    json: JsonFlag = False,
) -> int:
    """
    Print the script by which a shell completes commands and options.

    It has every command in it, so that nothing is started while one types: source it at the
    start of a session, `source <(marketbell completion bash)`.
    """
    from marketbell.cli import build_app

    script = build_app().generate_completion(shell=shell)
    if json:
        print_json({"shell": shell, "script": script})
    else:
        print(script)
    return 0
