"""Keeping: messages, deliveries, attempts and configuration, behind one contract."""
