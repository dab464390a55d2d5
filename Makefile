# Two commands need nothing but Python 3.11 or later, make and a package index: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: help demo test crash machine lint types event-format json-schema command-reference terminal-sessions docs bench clean

help:
	@echo "make demo    trace a nested agent program and print its tree"
	@echo "make test    run the tests"
	@echo "make crash   kill 5,000 writers at random instants and check that nothing is lost"
	@echo "make machine  run programs that nobody wrote, and compare what they saw with what they must"
	@echo "make lint    format check, linter, import floors"
	@echo "make types   mypy and pyright, both strict"
	@echo "make event-format  make the JSON Schema and the tables of the event format from its models"
	@echo "make command-reference  make the page of the command from the command"
	@echo "make terminal-sessions  record what the command looks like on a terminal"
	@echo "make json-schema  make the JSON Schema of what runid prints as JSON"
	@echo "make docs    build the documentation into site/"
	@echo "make bench   time it beside the alternatives, for half an hour"
	@echo "make clean   remove what the others made"

# One local environment; each stamp says what is installed in it.
$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed: make PYTHON=python3.11 …" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --quiet install --upgrade "pip>=25.1"

$(VENV)/.demo $(VENV)/.test $(VENV)/.lint $(VENV)/.docs: $(VENV)/.%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip --quiet install --editable ".[cli]" --group $*
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/python examples/trip_planner.py

test: $(VENV)/.test
	$(BIN)/python -m pytest

crash: $(VENV)/.test
	$(BIN)/python -m tests.crash --kills 5000

machine: $(VENV)/.test
	$(BIN)/python -W error -m tests.machine --programs 1500 --seed `date +%s`

lint: $(VENV)/.lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(VENV)/.lint $(VENV)/.test
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

event-format: $(VENV)/.test
	$(BIN)/python -m tests.event_format

command-reference: $(VENV)/.test
	$(BIN)/python -m tests.command_reference

terminal-sessions: $(VENV)/.test
	$(BIN)/python -m tests.terminal_sessions

json-schema: $(VENV)/.test
	$(BIN)/python -m tests.json_schema

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/.test
	$(BIN)/python benchmarks/append.py
	$(BIN)/python benchmarks/walls.py
	$(BIN)/python benchmarks/carriers.py
	$(BIN)/python benchmarks/recording.py
	$(BIN)/python benchmarks/handing.py
	$(BIN)/python benchmarks/index.py
	$(BIN)/python benchmarks/exec.py
	$(BIN)/python benchmarks/command.py

clean:
	rm -rf $(VENV) .ci-venvs .demo-runs .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist site
