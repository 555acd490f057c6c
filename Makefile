# The README's two commands, each good as the first one on a fresh clone:
#
#   make serve    the daemon in the foreground, on loopback; ARGS="--listen unix:/tmp/s" is passed on
#   make test     everything that is checked before a change goes in
#
# Both make .venv when it is not there, and bring it up to date when setup.cfg or pyproject.toml changed.
# PYTHON=/path/to/python3.12 chooses the Python that .venv is made with.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
ARGS ?=

# What mypy and ruff read. Folders that are not there yet are passed over.
CODE := $(wildcard sockserv tests examples benchmarks)

PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# The other editable modes hide twisted/plugins from Twisted's plugin system.
EDITABLE := --config-settings editable_mode=compat --editable

# The tests start some hundreds of processes, each of which would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: serve test lint format unit unit-edges unit-core disk coverage covered fuzz integration clean

# The shell passes Ctrl-C, or the end of make, on to twistd, and waits until that has cleaned up. An end that was asked
# for (143: by SIGTERM) is no mishap.
serve: $(VENV)/ready-to-serve
	@$(BIN)/twistd --nodaemon --pidfile= sockserv $(ARGS) & twistd=$$!; exec 2>/dev/null; \
	trap "kill $$twistd 2>/dev/null" INT TERM; \
	while wait $$twistd; status=$$?; kill -0 $$twistd 2>/dev/null; do :; done; \
	[ $$status -eq 143 ] || exit $$status

test: $(VENV)/ready-to-test
	@$(AT_ONCE) lint covered fuzz
	@$(MAKE) --no-print-directory integration

lint: $(VENV)/ready-to-test
	$(BIN)/ruff check $(CODE) twisted
	$(BIN)/ruff format --check $(CODE) twisted
	$(BIN)/mypy $(CODE)

format: $(VENV)/ready-to-test
	$(BIN)/ruff check --fix $(CODE) twisted
	$(BIN)/ruff format $(CODE) twisted

PYTEST := $(BIN)/python -m pytest --quiet
# More processes than these take longer to start than they save. WORKERS=0 tests in one process, as --pdb needs it.
WORKERS ?= auto
PARALLEL := --numprocesses=$(WORKERS) --maxprocesses=8
# pytest-twisted installs the reactor at once, so it stays out of the tests that must do without. pytest's support for
# test cases of trial's, of which these have none, looks up the version of Twisted for each test: a tenth of their time.
# Nothing here goes to the log of the standard library.
ALONE := -p no:twisted -p no:unittest -p no:logging

# The unit tests in two parts, each in a process of its own at the same time: with workers that are handed one test after
# the other, most of which take a millisecond, it would take twice as long.
EDGES := $(addprefix tests/,cli client services testing)
CORE := tests $(addprefix --ignore=,$(EDGES) tests/integration tests/fuzz tests/disk)
AT_ONCE := $(MAKE) --no-print-directory --jobs=2 --output-sync=target

# Of properties some examples, and nobody watches how long a test takes, which costs a thread for each; the coverage run,
# which is part of `make test`, tries four times as many, and watches.
BRIEF := --hypothesis-profile=brief -o faulthandler_timeout=0
unit: $(VENV)/ready-to-test
	@$(AT_ONCE) unit-edges unit-core

unit-edges:
	$(PYTEST) $(ALONE) $(BRIEF) $(EDGES)

unit-core:
	$(PYTEST) $(ALONE) $(BRIEF) $(CORE)

disk: $(VENV)/ready-to-test
	$(PYTEST) $(ALONE) tests/disk

# All of these. On Python 3.11 they take more than twice as long when they are watched.
coverage: $(VENV)/ready-to-test
	@$(AT_ONCE) covered

covered: covered-edges covered-core covered-disk
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --fail-under=90

covered-edges: TESTS := $(EDGES)
covered-core: TESTS := $(CORE)
covered-disk: TESTS := tests/disk
covered-%:
	COVERAGE_FILE=.coverage.$* $(PYTEST) $(ALONE) --cov --cov-report= $(TESTS)

# Some seconds of what may run for hours by hand: python -m tests.fuzz.connection --seconds 3600
fuzz: $(VENV)/ready-to-test
	$(PYTEST) $(ALONE) $(PARALLEL) tests/fuzz

# A file's tests share what is costly to make, so they stay together.
integration: $(VENV)/ready-to-test
	$(PYTEST) $(PARALLEL) --dist=loadfile --no-loadscope-reorder tests/integration

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(VENV)/made:
	@for python in $(or $(PYTHON),python3 python3.11 python3.12 python3.13 python3.14); do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        "$$python" -m venv --clear $(VENV) && touch $@; exit; \
	    fi; \
	done; \
	echo "sockserv needs Python 3.11 or newer, and $(or $(PYTHON),python3) is not: make PYTHON=/path/to/python3.11" >&2; \
	exit 1

$(VENV)/ready-to-serve: $(VENV)/made setup.cfg pyproject.toml
	$(PIP) install $(EDITABLE) .
	@touch $@

$(VENV)/ready-to-test: $(VENV)/made setup.cfg pyproject.toml
	$(PIP) install $(EDITABLE) '.[dev]'
	@touch $@ $(VENV)/ready-to-serve
