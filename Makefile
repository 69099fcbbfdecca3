# One command a purpose, the same here and in CI. Needs make, git and Python 3.11 or newer; everything else goes into .venv.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# A system may have only the versioned name (Debian's python3.11 without python3), or a python3 that is too old.
find_python = for p in python3 python3.14 python3.13 python3.12 python3.11; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done
PYTHON ?= $(shell $(find_python))
BIN := .venv/bin
LOCKED := .venv/.locked
READY := .venv/.ready
PYTEST_ARGS ?= -n auto
LINT_PATHS := pipeline connectors tests .ci
lock_options := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
    --custom-compile-command "make lock" --no-emit-index-url --no-emit-find-links

.PHONY: help demo test quick lint format cover bench lock dist clean venv

help:  ## Say what can be made
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

demo: $(READY)  ## Replay a recorded disaster and print its cause tree
	$(BIN)/headwater demo

test: lint $(READY)  ## Format, lint, types, import contracts, tests; CI=true adds the long ones
	$(BIN)/python -m pytest $(PYTEST_ARGS)

quick: lint $(READY)  ## The same without the tests that take long
	$(BIN)/python -m pytest -m "not integration and not slow" $(PYTEST_ARGS)

lint: $(READY)  ## Format check, lint, types, import contracts
	$(BIN)/ruff format --check $(LINT_PATHS)
	$(BIN)/ruff check $(LINT_PATHS)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## Format the code and mend what can be mended by machine
	$(BIN)/ruff format $(LINT_PATHS)
	$(BIN)/ruff check --fix $(LINT_PATHS)

cover: $(READY)  ## Which lines and branches the quick tests miss
	$(BIN)/coverage run -m pytest -m "not integration and not slow" $(PYTEST_ARGS)
	$(BIN)/coverage report

bench: $(READY)  ## Measure speed and memory; BENCHMARKS.md says what was found
	$(BIN)/python -m tests.benchmark

dist: $(READY)  ## Build the source archive and the wheel
	$(BIN)/python -m build --no-isolation

# Versions are taken anew from what pyproject.toml allows; hashes are the index's, addresses are left out.
lock: $(READY)  ## Lock the dependencies anew
	$(BIN)/python -m pip install --quiet --group lock
	$(BIN)/uv pip compile pyproject.toml $(lock_options) --output-file requirements.lock
	$(BIN)/uv pip compile pyproject.toml $(lock_options) --group dev --constraints requirements.lock --output-file requirements-dev.lock

clean:  ## Remove whatever make made
	rm -rf .venv build dist .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find pipeline connectors tests .ci -name __pycache__ -type d -prune -exec rm -rf {} +

venv: $(READY)  ## Only prepare .venv

# The environment is made anew when the lock changes, so that nothing stays that the lock no longer names.
$(LOCKED): requirements-dev.lock .ci/bootstrap.py
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) .ci/bootstrap.py .venv requirements-dev.lock
	@touch $@

# An editable install; the build backend stands in the lock, so nothing is fetched here.
$(READY): $(LOCKED) pyproject.toml pipeline/_version.py
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
