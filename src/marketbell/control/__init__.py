"""Use cases of the management plane, each once, for every face; knows no HTTP."""
