# The two commands: make compare, make test. Each makes .venv if it is absent.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= digits

.PHONY: compare test test-all slow install docs clean

compare: $(VENV)/installed
	$(BIN)/lamina compare $(DATA)

# style and types first: they are quick; then the tests, one process a core, one thread a process
test: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m "not slow"

# what test leaves out: the slow laws and tests, and claims at their smallest honest size: those that a change touched,
# and a quarter of the others, another one every day
test-all: test
	$(MAKE) slow

slow: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m slow
	$(BIN)/lamina reproduce --due docs/claims --tier ci --against docs/claims/verdicts.json --out runs/claims

install: $(VENV)/installed

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

# peers of tests whose own requirements no longer install and are not needed here
$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt resemblyzer torchscale pyctcdecode pygtrie
	touch $@

# the reports that the docs show, drawn again from their results; plotly.min.js beside them comes from the package
docs: $(VENV)/installed
	$(BIN)/python -c "import json, pathlib; from lamina.compare import generate, report; \
	found = [(p, json.loads(p.read_text())) for p in pathlib.Path('docs/reports').glob('*/results.json')]; \
	[(generate.page if 'timed_at' in r else report).write(r, p.parent, shared_js=True) for p, r in found]"

clean:
	rm -rf $(VENV) runs
	find src -name '*.nb[ic]' -delete   # numba's compiled kernels
