# `make` alone says what there is. Works with any make, in directories with spaces in their names;
# programs of the environment are run as modules, because the first line of a script cannot have spaces.

PYTHON ?=
ARGS ?=
# The store of the demo; a file of its own without one.
URL ?=
VENV := .venv
RUN := $(VENV)/bin/python
NEWEST := .venv-newest
# Tests run side by side in so many processes: one more than cores, because many wait for others.
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
JOBS ?= $(shell expr $(CORES) + 1)
# What runs them; tools/steady.py tells those that fail from those that are unsteady.
PYTEST ?= -m pytest
# What another Python may do otherwise; the rest of the tests looks at what is ours.
NEWEST_TESTS ?= -m 'not slow and not ray' tests/words tests/policies tests/queue \
	tests/backends/test_memory.py tests/backends/test_sqlite.py tests/backends/test_redis.py \
	tests/foreman tests/pools tests/stateful tests/typing tests/bench/test_work.py
# How often which tests are repeated.
N ?= 10
TESTS ?= -m '(hypothesis or random) and not slow' tests/model tests/simulation tests/policies \
	tests/words tests/security tests/queue/test_lock_histories.py tests/foreman/test_parts.py
# How long a soak is to be, and which; a fresh one without a seed.
MINUTES ?= 10
SEED ?=

.DEFAULT_GOAL := help
.PHONY: help env test test-slow test-newest test-all check lint types layers sizes format \
	coverage mutations repeat soak bench bench-page bench-record demo docs clean

help: ## say what there is
	@echo "make demo      see it work: ARGS=--crash kills a foreman; URL=redis://localhost"
	@echo "make test      run the tests; ARGS are pytest's, such as ARGS='-k retry'"
	@echo "make test-slow those that take long: soaks, Ray, clusters, servers that are killed"
	@echo "make test-all  both, then the first on the newest other Python of this machine"
	@echo "make check     lint, types, layers, sizes, documentation"
	@echo "make format    put the code into its form"
	@echo "make coverage  branches of policies, ports and foreman that no test takes"
	@echo "make mutations defects planted one by one: each has a test that must fail"
	@echo "make repeat    all random tests with fresh seeds, N=10 times: TESTS=tests/policies"
	@echo "make soak      foremen killed and frozen for MINUTES=10; SEED=… repeats a schedule"
	@echo "make bench     measure, beside the floor and peers: ARGS='--quick --only drain'"
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
	$(RUN) $(PYTEST) -n $(JOBS) --dist worksteal -m "not slow" $(ARGS)

# The status of pytest when ARGS choose no test of a kind.
NONE = 5
# What kills and freezes finds its jobs at work only while the machine has time for them; what is
# judged by its pace has the machine for itself.
test-slow: $(VENV)/.ready-test
	$(RUN) $(PYTEST) -n $(CORES) --dist worksteal -m "slow and not alone" $(ARGS) || [ $$? -eq $(NONE) ]
	$(RUN) $(PYTEST) -m "slow and alone" $(ARGS) || [ $$? -eq $(NONE) ]

test-newest:
	@if PYTHON='$(PYTHON)' tools/find_python.sh newest >/dev/null; then \
		$(MAKE) --no-print-directory $(NEWEST)/.ready-test && \
		$(NEWEST)/bin/python --version && \
		$(NEWEST)/bin/python $(PYTEST) -n $(JOBS) --dist worksteal -o cache_dir=.cache/pytest-newest $(NEWEST_TESTS) $(ARGS); \
	else \
		echo "This machine has no other Python from 3.11 on: nothing more to test."; \
	fi

test-all: test test-slow test-newest

coverage: $(VENV)/.ready-test
	@mkdir -p .cache/coverage
	$(RUN) -m coverage erase
	$(RUN) -m coverage run -m pytest -q -m "not slow" tests/policies tests/foreman tests/queue $(ARGS)
	$(RUN) -m coverage combine --quiet
	$(RUN) -m coverage report --fail-under=100 \
		--include="src/treadle/policies/*,src/treadle/ports.py,src/treadle/foreman/*"

# Takes some minutes; ARGS=--changed for those that a change concerns, ARGS=fence for some.
mutations: $(VENV)/.ready-test
	$(RUN) tools/mutate.py --jobs $(CORES) $(ARGS)

repeat: $(VENV)/.ready-test
	@tools/repeat.sh $(RUN) $(N) $(TESTS)

soak: $(VENV)/.ready-test
	SOAK_MINUTES=$(MINUTES) SOAK_SEED=$(SEED) $(RUN) -m pytest -s tests/soak/test_soak.py tests/soak/test_soak_servers.py $(ARGS)

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

# In a store of one's own: make demo URL=redis://localhost; that needs more than what runs alone.
demo: $(VENV)/.ready-$(if $(URL),test,run)
	@$(RUN) -m treadle demo $(if $(URL),--url '$(URL)') $(ARGS)

bench: $(VENV)/.ready-test
	$(RUN) -m benchmarks $(ARGS)

# The tables of docs/explanation/performance.md; for a machine with nothing else to do.
bench-page: $(VENV)/.ready-test
	$(RUN) -m benchmarks --page $(ARGS)

# What a job may cost from now on, on this Python: see tests/bench.
bench-record: $(VENV)/.ready-run
	$(RUN) -m benchmarks.work --record

clean:
	rm -rf .venv .venv-newest .cache docs/_build build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
