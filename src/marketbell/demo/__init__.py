"""The demo: every event of both marketplaces, brought through every kind of failure, and judged."""
