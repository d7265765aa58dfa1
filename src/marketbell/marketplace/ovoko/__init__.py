"""Ovoko: parts, orders and returns, and the API that its sellers call."""
