"""The routes that official clients ask for: which the open-source server has, which only a cloud."""

from __future__ import annotations

import re

CLOUD_ONLY = {
    "/api/v1/app/{}/autoconfig": "subscriptions of Svix's cloud",
    "/api/v1/app/{}/destination": "Svix's cloud delivers to queues and buckets too",
    "/api/v1/app/{}/endpoint/{}/transformation": "code that runs in Svix's cloud",
    "/api/v1/app/{}/integration": "integrations of Svix's cloud",
    "/api/v1/app/{}/poller": "endpoints that are polled, of Svix's cloud",
    "/api/v1/connector": "templates of Svix's cloud",
    "/api/v1/environment": "export between environments of Svix's cloud",
    "/ingest/api/v1": "Svix Ingest, another product",
    "/api/v1/stats/usage": "billing of Svix's cloud",
    "/api/v1/auth/stream": "Svix Stream, another product",
    "/api/v1/stream": "Svix Stream, another product",
}
"""What the packages can ask for and this server does not have, by the beginning of the path."""

OPEN_SOURCE = {
    ("GET", "/api/v1/health"),
    ("POST", "/api/v1/app"),
    ("GET", "/api/v1/app"),
    ("GET", "/api/v1/app/{}"),
    ("PUT", "/api/v1/app/{}"),
    ("PATCH", "/api/v1/app/{}"),
    ("DELETE", "/api/v1/app/{}"),
    ("POST", "/api/v1/app/{}/endpoint"),
    ("GET", "/api/v1/app/{}/endpoint"),
    ("GET", "/api/v1/app/{}/endpoint/{}"),
    ("PUT", "/api/v1/app/{}/endpoint/{}"),
    ("PATCH", "/api/v1/app/{}/endpoint/{}"),
    ("DELETE", "/api/v1/app/{}/endpoint/{}"),
    ("GET", "/api/v1/app/{}/endpoint/{}/headers"),
    ("PUT", "/api/v1/app/{}/endpoint/{}/headers"),
    ("PATCH", "/api/v1/app/{}/endpoint/{}/headers"),
    ("GET", "/api/v1/app/{}/endpoint/{}/secret"),
    ("POST", "/api/v1/app/{}/endpoint/{}/secret/rotate"),
    ("GET", "/api/v1/app/{}/endpoint/{}/stats"),
    ("POST", "/api/v1/app/{}/endpoint/{}/send-example"),
    ("POST", "/api/v1/app/{}/endpoint/{}/recover"),
    ("GET", "/api/v1/app/{}/endpoint/{}/msg"),
    ("POST", "/api/v1/event-type"),
    ("GET", "/api/v1/event-type"),
    ("GET", "/api/v1/event-type/{}"),
    ("PUT", "/api/v1/event-type/{}"),
    ("PATCH", "/api/v1/event-type/{}"),
    ("DELETE", "/api/v1/event-type/{}"),
    ("POST", "/api/v1/app/{}/msg"),
    ("GET", "/api/v1/app/{}/msg"),
    ("GET", "/api/v1/app/{}/msg/{}"),
    ("DELETE", "/api/v1/app/{}/msg/{}/content"),
    ("GET", "/api/v1/app/{}/attempt/endpoint/{}"),
    ("GET", "/api/v1/app/{}/attempt/msg/{}"),
    ("GET", "/api/v1/app/{}/msg/{}/attempt/{}"),
    ("DELETE", "/api/v1/app/{}/msg/{}/attempt/{}/content"),
    ("GET", "/api/v1/app/{}/msg/{}/endpoint"),
    ("POST", "/api/v1/app/{}/msg/{}/endpoint/{}/resend"),
    ("POST", "/api/v1/auth/app-portal-access/{}"),
    ("POST", "/api/v1/auth/logout"),
}
"""What the open-source server has of what the packages ask for: 40 pairs."""


def shape(path: str) -> str:
    """A path with its parameters' names left out."""
    return re.sub(r"{.*?}", "{}", path)


def beginning(path: str) -> str | None:
    """The beginning of CLOUD_ONLY that a path has."""
    return next((start for start in CLOUD_ONLY if shape(path).startswith(start)), None)
