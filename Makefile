# Each target sets itself up on a fresh machine: Python 3.11 or newer and make are all it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-first test-second lint bench clean
.DEFAULT_GOAL := test

demo: $(VENV)/.ready  ## train a small model, measure its history, write the report; make demo NAME=grokking for another
	$(BIN)/dynamics demo $(NAME)

# Two halves at once, each on a core of its own; cut by name, so that every machine runs each in the same order.
test: $(VENV)/.ready  ## the whole test suite
	OMP_NUM_THREADS=1 $(MAKE) --no-print-directory --jobs 2 $(SYNC) test-first test-second

SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync)

test-first: $(VENV)/.ready
	$(BIN)/pytest tests/test_[a-l]*.py metrics dynamics dashboards

test-second: $(VENV)/.ready
	$(BIN)/pytest tests/test_[m-z]*.py

lint: $(VENV)/.ready  ## style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

bench: $(VENV)/.ready  ## speed and memory, as ratios to the bare model
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf $(VENV)

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
