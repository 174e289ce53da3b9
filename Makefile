# The two commands of a fresh machine: `make demo` and `make test`. They make .venv, install, and run.
PYTHON ?= python3
VENV   ?= .venv
# A CPU build is enough for everything here: on Linux a plain `pip install torch` may pull gigabytes of CUDA libraries.
# So torch comes first, and by itself; a machine with a GPU names its own build: make test TORCH=...
TORCH  ?= torch==2.13.0
BIN    := $(VENV)/bin

.PHONY: demo test lint check wheel bench

demo: $(VENV)/.tool
	$(BIN)/rsvlm demo --out demo-out --overwrite

test: $(VENV)/.workshop
	$(BIN)/pytest

lint: $(VENV)/.workshop
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

wheel: $(VENV)/.workshop
	$(BIN)/python -m build --wheel --no-isolation

bench: $(VENV)/.workshop
	$(BIN)/python -m benchmarks.startup

# The stamps: installed again only when pyproject.toml changes.
$(VENV)/.tool: pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.workshop: pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable '.[train,export,dev]'
	touch $@ $(VENV)/.tool

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)
