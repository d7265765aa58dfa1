"""Marketbell: the webhook server for marketplaces."""

__version__ = "0.1.0"
