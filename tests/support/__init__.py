"""What several suites share: a data plane to test, a server to kill, a way to wait."""
