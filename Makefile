# One command each. `make demo` and `make test` set up all they need: git, make and Python 3.11 or newer are enough.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
SEEDS ?= 2000

# The first interpreter that is new enough; `make PYTHON=python3.12 ...` chooses another.
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11; do \
	"$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$candidate" && break; done)

# uv installs what uv.lock says; it gets a folder of its own, so that nothing has to be on PATH.
UV ?= .venv-uv/bin/uv
SYNC = $(UV) sync --frozen --inexact --quiet --python "$(PYTHON)" --no-python-downloads

# Where the machine keeps certificates (a company's own among them), uv shall trust those.
export UV_SYSTEM_CERTS := $(if $(wildcard /etc/ssl/certs/ca-certificates.crt),true,false)

# pyright brings its own Node.js; one that happens to be on PATH may be too old.
export PYRIGHT_PYTHON_GLOBAL_NODE := 0
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help setup demo up down test check bench simulate schemas format lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/.ready ## Install everything that development needs into .venv

demo: $(VENV)/.demo-ready ## Retrain a real model: first, again (all hits), and with new data
	$(BIN)/penstock demo

up: $(VENV)/.ready ## Start all services of a cluster from Debian's packages, in .penstock-up
	@$(BIN)/python -m tools.up up $(ARGS)

down: ## End what `make up` started (ARGS=--delete: its data too)
	@$(BIN)/python -m tools.up down $(ARGS)

test: $(VENV)/.ready ## Run all tests
	$(BIN)/python -m pytest -n 2 $(ARGS)

check: $(VENV)/.ready ## Check format, lint, types, imports and the lock file
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	@$(BIN)/python tools/check_lock.py "$(UV)"

bench: $(VENV)/.ready ## Measure, and print one table with medians
	$(BIN)/python -m bench $(ARGS)

simulate: $(VENV)/.ready ## Try SEEDS=2000 random histories of faults on a simulated cluster
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(ARGS)

schemas: $(VENV)/.ready ## Write the JSON Schemas and missing golden files of the contracts again
	$(BIN)/python -m tests.contracts.regenerate

format: $(VENV)/.ready ## Format the code and mend what can be mended by itself
	$(BIN)/ruff check --quiet --fix-only .
	$(BIN)/ruff format --quiet .

lock: $(UV) ## Resolve the dependencies again into uv.lock
	$(UV) lock

clean: ## Remove everything that the other targets made
	rm -rf $(VENV) .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv-uv/bin/uv: tools/install_uv.py
	@test -n "$(PYTHON)" || { echo "Penstock needs Python 3.11 or newer, and none is on PATH; name one: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@echo "Setting up uv in .venv-uv (once)"
	@"$(PYTHON)" tools/install_uv.py .venv-uv

$(VENV)/.demo-ready: pyproject.toml uv.lock | $(UV)
	@echo "Setting up Penstock in $(VENV) (once)"
	@$(SYNC) --no-dev --extra demo
	@touch $@

$(VENV)/.ready: pyproject.toml uv.lock | $(UV)
	@echo "Setting up Penstock and its development tools in $(VENV) (once)"
	@$(SYNC) --extra demo
	@touch $@ $(VENV)/.demo-ready
