"""
Messages published inside of one's own PostgreSQL transaction: each exists if and only if it commits.

    from marketbell import outbox

    outbox.publish(connection, application="kaunas", event_type="order.created", payload={"id": 1})

`connection` is one of psycopg 3, asyncpg, SQLAlchemy 2 or Django, to the database that Marketbell
keeps its tables in. An asynchronous one has the call awaited. No driver is imported but the
caller's own, and nothing of the server.
"""

from marketbell.outbox.draft import Draft
from marketbell.outbox.publishing import Outbox, publish, publish_many

__all__ = ["Draft", "Outbox", "publish", "publish_many"]
