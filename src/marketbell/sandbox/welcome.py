"""What is said once the sandbox is up: credentials, and commands that work when they are pasted."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import msgspec

from marketbell.control.sellers import OVOKO, SELLER_CENTER

RECEIVER: Final = "http://127.0.0.1:9000"
"""Where the examples take the receiver to be."""


class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """A sandbox that is up."""

    url: str
    """The management API."""
    marketplace_url: str
    """The marketplaces' own APIs, and the controls."""
    organization: str
    token: str
    """An operator's, for the management API."""
    sellers: Mapping[str, Mapping[str, str]]
    """By marketplace: what each seller's calls carry, and its `application`."""
    speed: float
    seed: int
    chaos: bool
    rate: float | None
    db: str
    pid: int


def variables(welcome: Welcome) -> str:
    """What all other commands need, as a shell takes it."""
    ovoko, shop = welcome.sellers[OVOKO], welcome.sellers[SELLER_CENTER]
    values = {
        "API": welcome.url,
        "MARKETPLACE": welcome.marketplace_url,
        "TOKEN": welcome.token,
        "OVOKO": "&".join(
            f"{name}={quote(ovoko[name], safe='')}"
            for name in ("username", "password", "user_token")
        ),
        "USER_ID": shop["UserID"],
        "API_KEY": shop["ApiKey"],
        "MARKETBELL_SANDBOX_URL": welcome.marketplace_url,
        "MARKETBELL_URL": welcome.url,
        "MARKETBELL_TOKEN": welcome.token,
    }
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items())


ENDPOINT: Final = f"""\
curl -s "$API/api/v1/app/ovoko/endpoint" \\
  -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\
  -d '{{"url": "{RECEIVER}/ovoko", "headers": {{"X-Callback-Token": "secret-of-yours"}}}}'"""
"""Ovoko has no call for it: the URL stands in the seller's settings there, and here in the API."""

WEBHOOK: Final = f"""\
action() {{
  QUERY="Action=$1&Format=JSON&Timestamp=$(date -u +%Y-%m-%dT%H%%3A%M%%3A%SZ)"
  QUERY="$QUERY&UserID=${{USER_ID/@/%40}}&Version=1.0"
  SIGNATURE=$(printf %s "$QUERY" | openssl dgst -sha256 -hmac "$API_KEY" | sed 's/^.* //')
  curl -s "$MARKETPLACE/?$QUERY&Signature=$SIGNATURE" "${{@:2}}"
}}
action CreateWebhook -d '<Request><Webhook><CallbackUrl>{RECEIVER}/falabella?seller=7</CallbackUrl>
  <Events><Event>onOrderCreated</Event><Event>onOrderItemsStatusChanged</Event>
  <Event>onFeedCreated</Event><Event>onFeedCompleted</Event><Event>onProductCreated</Event>
  <Event>onProductUpdated</Event><Event>onProductQcStatusChanged</Event>
  <Event>onStatisticsUpdated</Event><Event>onMetricsUpdated</Event></Events></Webhook></Request>'"""
"""Seller Center has its Action API, whose calls are signed."""

PLAY: Final = """\
marketbell sandbox play all-events"""

LOOK: Final = """\
curl -s "$MARKETPLACE/v2/get/parts" -d "$OVOKO" -d limit=3
action GetWebhooks
curl -s "$MARKETPLACE/sandbox\""""


def examples(welcome: Welcome) -> dict[str, str]:
    """Commands by what they do, to be run in this order by bash; each needs those before it."""
    return {
        "Variables for what follows": variables(welcome),
        "A webhook of the seller at Ovoko": ENDPOINT,
        "A webhook of the seller at Seller Center": WEBHOOK,
        "Let everything happen once": PLAY,
        "See what there is": LOOK,
    }


def text(welcome: Welcome) -> str:
    """What a person reads, and pastes from."""
    lines = [
        f"# The sandbox serves {welcome.url} (management API)",
        f"#               and {welcome.marketplace_url} (Ovoko, Seller Center, controls)",
        f"# Database {welcome.db}, seed {welcome.seed}{_oddities(welcome)}. Ctrl-C ends it.",
    ]
    for title, command in examples(welcome).items():
        lines += ["", f"# {title}", command]
    return "\n".join(lines)


def _oddities(welcome: Welcome) -> str:
    said = ""
    if welcome.speed != 1.0:
        said += f", time runs {welcome.speed:g} times as fast"
    if welcome.chaos:
        said += ", chaos on"
    if welcome.rate is not None:
        said += f", {welcome.rate:g} acts a second"
    return said


def as_object(welcome: Welcome) -> dict[str, object]:
    """The same for machines."""
    return {**msgspec.structs.asdict(welcome), "examples": examples(welcome)}
