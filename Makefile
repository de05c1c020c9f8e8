# Short names for commands that people can read. `make demo` and `make test` are all a newcomer needs.

PYTHON ?= python3
VENV   ?= .venv
# the versions to install, and the extras of setup.cfg; make install PINS= takes the newest
PINS   ?= tests/versions/tested.txt
EXTRAS ?= dev,photos,export,notebooks
PY      = $(VENV)/bin/python
SHELL   = /bin/bash
.SHELLFLAGS = -eu -o pipefail -c
.DEFAULT_GOAL = help

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/installed: setup.cfg setup.py pyproject.toml $(PINS)
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Python %d.%d is too old: fer_kit needs 3.11 or newer, e.g. make demo PYTHON=python3.12" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]' $(addprefix --constraint ,$(PINS))
	@touch $@

install: $(VENV)/installed  ## make .venv with everything in it

# --- demo: a whole competition, from files to a checked submission ------------------------------------------------
# On drawn faces by default; `make demo DATA=dir` does the same on the competition's own files.
DATA       ?=
DEMO        = $(if $(DATA),demo/competition,demo/drawn)
DEMO_DATA   = $(if $(DATA),$(DATA),demo/drawn/data)
DEMO_FOLDS  = 0 1 2

demo: $(VENV)/installed  ## draw a competition, train two recipes, blend, write and check a submission
	@if [ -z "$(DATA)" ]; then $(PY) -m fer_kit.synthetic $(DEMO_DATA) --rows 2000 --test-rows 500; fi
	@$(PY) -m fer_kit.folds --data $(DEMO_DATA) --runs $(DEMO)/runs --folds 3
	@for fold in $(DEMO_FOLDS); do \
	  $(PY) -m fer_kit.train --recipe baseline_v1 --set epochs=10 --tag demo --fold $$fold --data $(DEMO_DATA) --runs $(DEMO)/runs --resume || exit 1; \
	  $(PY) -m fer_kit.train --recipe residual_tiny --set epochs=12 average_decay=0.98 --tag demo --fold $$fold --data $(DEMO_DATA) --runs $(DEMO)/runs --resume || exit 1; \
	done
	@$(PY) -m ensembles.blend demo --method mean --data $(DEMO_DATA) --runs $(DEMO)/runs
	@$(PY) -m submissions build demo --runs $(DEMO)/runs --data $(DEMO_DATA) --out $(DEMO)/submission.csv
	@$(PY) -m submissions check $(DEMO)/submission.csv --data $(DEMO_DATA)
	@printf '%s\n' '' 'Everything lies in $(DEMO):' \
	  '  data/            the competition files (drawn ones; yours stay where they are)' \
	  '  runs/folds.csv   the folds; runs/<recipe>/fold<k>/ each trained fold, with log.txt and metrics.jsonl' \
	  '  runs/blends/demo the blend' \
	  '  submission.csv   what you would upload' \
	  '' 'Next, with the competition files in ./data:' \
	  '  source $(VENV)/bin/activate' \
	  '  fer-kit folds' \
	  '  fer-kit train --folds 0-4' \
	  '  fer-kit blend first --members air --twins near' \
	  '  fer-kit report' \
	  '  fer-kit submissions build first-twins'

# --- checks --------------------------------------------------------------------------------------------------------
test: $(VENV)/installed  ## run the tests
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --dist loadfile

quick: $(VENV)/installed  ## the tests that take less than about a second each
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --dist loadfile -m "not slow"

test-lowest:  ## the tests on the lowest versions that setup.cfg claims, in .venv-lowest
	$(MAKE) test VENV=.venv-lowest PINS=tests/versions/lowest.txt PYTHON=python3.11

test-newest:  ## the tests on the newest versions of all packages, in .venv-newest
	$(MAKE) test VENV=.venv-newest PINS=

test-kaggle-image:  ## the tests on the pins of Kaggle's image, in .venv-kaggle
	$(MAKE) test VENV=.venv-kaggle PINS=tests/versions/kaggle_image.txt PYTHON=python3.12

test-kaggle-next:  ## the tests on the pins of the announced next image, in .venv-kaggle-next; without photos (OpenCV 5)
	$(MAKE) test VENV=.venv-kaggle-next PINS=tests/versions/kaggle_next.txt EXTRAS=dev PYTHON=python3.13

FUZZ ?= 10000
fuzz: $(VENV)/installed  ## 10,000 broken files for each reader; FUZZ=n for another number
	$(PY) -m tests.fuzz $(FUZZ)

faults: $(VENV)/installed  ## kill every command at every write and go on; nothing may be lost (takes an hour)
	$(PY) -m tests.faults

lint: $(VENV)/installed  ## style and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

BENCH ?=
bench: $(VENV)/installed  ## speed and memory against others and the machine's limits; BENCH="--only reading" for a part
	$(PY) -m tests.benchmarks $(BENCH)

clean:  ## remove the demo and caches; runs/ and data/ stay
	rm -rf demo .pytest_cache .mypy_cache .ruff_cache

.PHONY: help install demo test quick test-lowest test-newest test-kaggle-image test-kaggle-next fuzz faults lint bench clean
