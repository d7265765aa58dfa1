# Marketbell. Needs Python 3.11 or later and make; everything else goes into .venv.

SHELL := /bin/bash
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.stamp-runtime
DEV := $(VENV)/.stamp-dev
NODE := tests/compat/node/node_modules/.stamp

.DEFAULT_GOAL := help
.PHONY: help demo setup test test-full test-postgres check format docs bench clean

help: ## This list
	@echo "make demo needs nothing but Python 3.11 and make; the first run takes a minute to install."
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## Deliver every event of both marketplaces to a failing receiver (under a minute)
	@$(BIN)/marketbell demo $(ARGS)

setup: $(DEV) ## Make .venv with Marketbell and everything for its development
	@echo "ready: source $(BIN)/activate"

test: $(DEV) $(NODE) ## All tests but the long ones (at most 8 minutes on 2 cores); prints each suite's time
	@PATH="$(CURDIR)/$(BIN):$$PATH" .ci/test $(ARGS)

test-full: $(DEV) $(NODE) ## Every test: thousands of kills, millions of rows (hours)
	@PATH="$(CURDIR)/$(BIN):$$PATH" .ci/test --full $(ARGS)

test-postgres: $(DEV) ## What uses PostgreSQL, on another version: make test-postgres POSTGRES=/usr/lib/postgresql/15/bin
	@test -x "$(POSTGRES)/postgres" || { echo "name the folder of the server's programs:" \
		"make test-postgres POSTGRES=/usr/lib/postgresql/15/bin"; exit 2; }
	@PATH="$(CURDIR)/$(BIN):$$PATH" MARKETBELL_TEST_POSTGRES="$(abspath $(POSTGRES))" .ci/test --postgresql $(ARGS)

check: $(DEV) ## Format, lint, types, import layers; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV) ## Format and mend what can be mended
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

docs: $(DEV) ## Write docs/settings.md, Ovoko's OpenAPI file, and the tables of docs/api.md, from the code
	$(BIN)/python -m marketbell.settings > docs/settings.md
	$(BIN)/python -m marketbell.api.reference docs/api.md
	$(BIN)/python -m marketbell.marketplace.ovoko.description > docs/marketplaces/ovoko-openapi.json

bench: $(DEV) ## Measure this machine; prints rates beside the client's own limit
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## Remove .venv and every cache
	rm -rf $(VENV) $(dir $(NODE)) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip learned --group in 25.1, and a bare Python brings an older one.
$(RUNTIME): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; name it with PYTHON=/path/to/python3"; exit 2; }
	@echo "installing into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "venv is missing; on Debian: apt-get install python3-venv"; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

# The older SDK stands beside the newer one, for the tests that compare both with the API.
$(DEV): $(RUNTIME)
	@echo "installing the development tools ..."
	@$(BIN)/python -m pip install --quiet --editable . --group dev
	@$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/svix-1 svix==1.99.1
	@touch $@

# The packages of npm that the tests drive; without npm those tests are skipped, and say so.
$(NODE): tests/compat/node/package.json tests/compat/node/package-lock.json
	@if ! command -v npm > /dev/null; then \
		echo "npm is not installed: the official clients of JavaScript are not tested"; \
	elif echo "installing the official clients of JavaScript ..." && \
		npm ci --prefix $(dir $(patsubst %/,%,$(dir $@))) --silent; then \
		touch $@; \
	else \
		echo "npm ci failed: the official clients of JavaScript are not tested"; \
	fi
