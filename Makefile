# `make` alone says what there is. Works with any make, in directories with spaces in their names;
# programs of the environment are run as modules, because the first line of a script cannot have spaces.

PYTHON ?=
ARGS ?=
VENV := .venv
RUN := $(VENV)/bin/python
NEWEST := .venv-newest
# Tests run side by side in so many processes.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help env test test-fast test-newest test-all check lint types layers sizes format \
	coverage bench demo docs clean

help: ## say what there is
	@echo "make demo      see it work: ARGS=--crash kills a foreman in the middle"
	@echo "make test      run the tests; ARGS are pytest's, such as ARGS='-k retry'"
	@echo "make test-fast the same without the slow ones"
	@echo "make test-all  the tests here, then on the newest other Python of this machine"
	@echo "make check     lint, types, layers, sizes, documentation"
	@echo "make format    put the code into its form"
	@echo "make coverage  branches of policies, ports and foreman that no test takes"
	@echo "make bench     measure; ARGS are the benchmark's"
	@echo "make docs      build the documentation into docs/_build/html"
	@echo "make env       make .venv with everything to work on the code"
	@echo "make clean     remove what was made, environments too"
	@echo
	@echo "Any Python from 3.11 on will do: make PYTHON=python3.12 test"

# ---------------------------------------------------------------- environments
# Each stamp is made again when what is to be installed changes.

$(VENV)/.ready-run: pyproject.toml tools/make_env.sh
	@tools/make_env.sh $(VENV) "$$(PYTHON='$(PYTHON)' tools/find_python.sh first)"
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready-run
	@tools/make_env.sh $(VENV) "$$(PYTHON='$(PYTHON)' tools/find_python.sh first)" test
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready-test
	@tools/make_env.sh $(VENV) "$$(PYTHON='$(PYTHON)' tools/find_python.sh first)" lint docs
	@touch $@

$(NEWEST)/.ready-test: pyproject.toml tools/make_env.sh
	@tools/make_env.sh $(NEWEST) "$$(PYTHON='$(PYTHON)' tools/find_python.sh newest)" test
	@touch $@

env: $(VENV)/.ready-dev

# ---------------------------------------------------------------- tests

test: $(VENV)/.ready-test
	$(RUN) -m pytest -n $(JOBS) --dist worksteal $(ARGS)

test-fast: $(VENV)/.ready-test
	$(RUN) -m pytest -n $(JOBS) --dist worksteal -m "not slow" $(ARGS)

test-newest:
	@if PYTHON='$(PYTHON)' tools/find_python.sh newest >/dev/null; then \
		$(MAKE) --no-print-directory $(NEWEST)/.ready-test && \
		$(NEWEST)/bin/python --version && \
		$(NEWEST)/bin/python -m pytest -n $(JOBS) --dist worksteal -m "not slow" -o cache_dir=.cache/pytest-newest $(ARGS); \
	else \
		echo "This machine has no other Python from 3.11 on: nothing more to test."; \
	fi

test-all: test test-newest

coverage: $(VENV)/.ready-test
	@mkdir -p .cache/coverage
	$(RUN) -m coverage erase
	$(RUN) -m coverage run -m pytest -q -m "not slow" tests/policies tests/foreman tests/queue $(ARGS)
	$(RUN) -m coverage combine --quiet
	$(RUN) -m coverage report --fail-under=100 \
		--include="src/treadle/policies/*,src/treadle/ports.py,src/treadle/foreman/*"

# ---------------------------------------------------------------- gates

check: lint types layers sizes docs

lint: $(VENV)/.ready-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: $(VENV)/.ready-dev
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

types: $(VENV)/.ready-dev
	$(RUN) -m mypy
	$(RUN) -m basedpyright --warnings

layers: $(VENV)/.ready-dev
	$(RUN) tools/check_layers.py

sizes: $(VENV)/.ready-run
	$(RUN) tools/check_sizes.py src tests tools benchmarks examples docs

docs: $(VENV)/.ready-dev
	$(RUN) -m sphinx --quiet --fail-on-warning --keep-going -b html \
		-d .cache/sphinx docs docs/_build/html

# ---------------------------------------------------------------- to look at

demo: $(VENV)/.ready-run
	@$(RUN) -m treadle demo $(ARGS)

bench: $(VENV)/.ready-run
	$(RUN) -m benchmarks $(ARGS)

clean:
	rm -rf .venv .venv-newest .cache docs/_build build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
