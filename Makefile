# make demo: search an activation function and prove that it helps.   make test: all tests.   Both set everything up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Sleeping, not spinning, threads: two pools on few cores would wait for each other.
export OMP_WAIT_POLICY = PASSIVE

.PHONY: demo test browser docs dist lint types readme clean

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "actune needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

demo: $(VENV)/ready
	mkdir -p demo
	$(BIN)/actune search digits --trials 100 --storage demo/digits.db --plot demo/digits.png --output demo/best.json

# Tests of pages need Chromium: Debian's, where this user may install it; else they are skipped, and say why.
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && { apt-get install -qq -y --no-install-recommends chromium >/dev/null || { apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium >/dev/null; }; }; } \
	  || echo 'no Chromium: tests of pages will be skipped; install it to run them'

test: $(VENV)/ready browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(ARGS)

results/digits.jsonl: $(VENV)/ready
	mkdir -p results
	$(BIN)/actune search digits --trials 100 --plot docs/digits.png --json | $(BIN)/python -c 'import json, sys; print(json.dumps(json.load(sys.stdin)))' > $@.new
	mv $@.new $@

results/bench.jsonl: $(VENV)/ready
	$(BIN)/actune bench --sizes 1e4,1e6,1.6e7 --plot docs/speed.png --output $@

readme: results/digits.jsonl results/bench.jsonl
	$(BIN)/python docs/generators/tables.py

# The documentation as a site in site/; a warning is an error.
docs: $(VENV)/ready
	$(BIN)/python -m mkdocs build --strict --quiet

# The wheel is built from the unpacked sdist, so what the sdist lacks fails here, and nothing of an earlier build can get into it.
dist: $(VENV)/ready
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	ls -l dist

lint: $(VENV)/ready
	$(BIN)/ruff check .

types: $(VENV)/ready
	$(BIN)/mypy

clean:
	rm -rf $(VENV) demo site build dist src/*.egg-info
