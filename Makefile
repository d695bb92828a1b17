# Two commands are enough: `make repro` and `make test`. Each sets up .venv first, from pinned and hashed requirements.

PYTHON ?= python3
# Processes that share the tests: one more than cores, because many wait for each other; each takes up to 2 GB of memory.
TEST_WORKERS ?= 3
VENV := .venv
BIN := $(VENV)/bin
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"

.PHONY: help setup repro test lint folds check-lock shared-run light-install bench pin

help:
	@grep -E '^## ' Makefile | sed 's/^## //'

## make setup   virtual environment with all that the project needs
setup: $(VENV)/.installed

$(VENV)/.installed: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info[:2] < (3, 14), "Python 3.11 to 3.13 is needed"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --requirement requirements.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

## make repro   set up and run the pipeline: only what has changed
repro: setup
	$(RUN) dvc repro

## make test    set up, lint, check types, run the tests
test: setup lint
	$(RUN) pytest --numprocesses $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder --durations 20

lint: setup
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

## make pin     choose versions anew: requirements.txt and versions.yaml (needs uv)
pin:
	uv pip compile pyproject.toml --extra pipeline --extra test --extra app --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --upgrade --output-file requirements.txt
	$(RUN) python -m scripts.pin

## make folds   train and predict the folds side by side: a worker a GPU, FSAT_WORKERS=2, or a cluster (FSAT_DASK)
folds: setup
	$(RUN) python -m scripts.folds $(if $(FSAT_WORKERS),--workers $(FSAT_WORKERS))

## make check-lock   whether the committed dvc.lock belongs to the committed code; needs no data
check-lock: setup
	$(RUN) python -m scripts.check_lock

## make shared-run   fetch from the DVC remote, run what changed, give back (AGAINST=origin/main: write metrics_diff.md)
shared-run: setup
	$(RUN) python -m scripts.shared_run $(if $(AGAINST),--against $(AGAINST)) $(if $(FOLDS),--folds $(FOLDS))

## make light-install   the tagger alone in an empty environment: its size, and the demo's clips tagged there
light-install: setup
	$(RUN) python -m scripts.light_install

## make bench   measure; writes docs/PERFORMANCE.md
bench: setup
	$(RUN) python -m benchmarks
