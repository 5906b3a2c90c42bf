# Every target sets up what it needs: a Python >= 3.11 and, to be fast, a C compiler with Python's headers.
# NEXO_PURE=1 runs any target with the interpreted modules.

PYTHON ?= python3
SECONDS ?= 60
ROUNDS ?= 20
VENV := .venv
PY := $(VENV)/bin/python
CLIENT := .venv-client
PIP_INSTALL := -m pip install -qq --disable-pip-version-check

# Exported to whatever runs below.
export NEXO_PURE

# setup.py holds the one list of what is compiled.
HOT := $(shell $(PYTHON) -B -c 'import setup; print(*setup.hot_modules(), *setup.INLINED)')
ifeq ($(HOT),)
$(error setup.py could not tell what to compile; see its message above)
endif

ifeq ($(filter-out 0,$(NEXO_PURE)),)
SETUP := $(VENV)/.compiled
else
SETUP := $(VENV)/.installed
endif

.PHONY: help run build test lint format generate fuzz kill simulate turns bench clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-8s %s\n", $$1, $$2 }'

run: $(SETUP)  ## Start a broker on 127.0.0.1:7654 (ARGS="--port 0 ..." adds flags)
	@exec $(PY) -m nexo serve $(ARGS)

build: $(SETUP)  ## Set up .venv and compile the hot modules in place
	@$(PY) -m nexo --version

test: $(SETUP) $(CLIENT)/.installed  ## Run all tests (ARGS="tests/brokers -k expiry" picks)
	$(PY) -m pytest -n 2 --dist worksteal $(ARGS)

lint: $(VENV)/.installed  ## ruff and mypy --strict
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PY) -m mypy src examples
	MYPYPATH=benchmarks $(PY) -m mypy benchmarks

format: $(VENV)/.installed  ## Let ruff format the code and sort its imports
	$(VENV)/bin/ruff check --select I --fix .
	$(VENV)/bin/ruff format .

generate: $(VENV)/.installed  ## Write the blocking client from the async one
	$(PY) tools/generate_blocking.py

fuzz: $(SETUP)  ## Throw random bytes at every codec for SECONDS (default 60)
	$(PY) tests/fuzz/run.py --seconds $(SECONDS)

kill: $(SETUP)  ## Kill a server under load ROUNDS times (default 20); look for what it had confirmed, and for anomalies
	$(PY) tests/faults/killing.py --rounds $(ROUNDS) $(ARGS)
	$(PY) tests/faults/histories.py --kills $(ROUNDS)

simulate: $(SETUP)  ## Run a whole node on a simulated disk, with faults, for SECONDS (SEED=n repeats one)
	$(PY) -m tests.simulation.simulate --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

turns: $(SETUP)  ## Measure the longest turn of the loop with millions of keys and messages alive
	$(PY) tests/faults/turns.py $(ARGS)

bench: $(SETUP) $(VENV)/.bench  ## Measure Nexo and its peers; writes docs/benchmarks.md
	$(PY) benchmarks/run.py $(ARGS)

clean:  ## Remove everything that the targets above have made
	rm -rf $(VENV) $(CLIENT) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp is touched when its step is complete, so a second run has nothing to do.

$(VENV)/.locked: requirements/dev.txt
	@echo "Setting up $(VENV) ..."
	@$(PYTHON) -c 'import sys; sys.exit("Nexo needs Python 3.11 or later; this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "No venv module: on Debian, apt-get install python3-venv" >&2; exit 1; }
	@$(PY) $(PIP_INSTALL) -r requirements/dev.txt
	@touch $@

# The package itself, editable and without its compiled half, which has a stamp of its own.
$(VENV)/.installed: $(VENV)/.locked pyproject.toml setup.py src/nexo/_version.py
	@NEXO_PURE=1 $(PY) $(PIP_INSTALL) --no-deps --no-build-isolation --editable . 2>&1
	@rm -f $(VENV)/.compiled
	@touch $@

$(VENV)/.compiled: $(VENV)/.installed $(HOT)
	@echo "Compiling the hot modules (a minute or two) ..."
	@mkdir -p build
	@$(PY) setup.py --quiet build_ext --inplace >build/compile.log 2>&1 || { cat build/compile.log >&2; exit 1; }
	@grep '^nexo: ' build/compile.log >&2 && echo "nexo: build/compile.log says more" >&2 || true
	@find src -name '*.so' -exec touch {} +
	@touch $@

$(VENV)/.bench: $(VENV)/.locked requirements/bench.txt
	@$(PY) $(PIP_INSTALL) -r requirements/bench.txt
	@touch $@

$(CLIENT)/.installed: requirements/client.txt
	@test -x $(CLIENT)/bin/python || $(PYTHON) -m venv $(CLIENT)
	@$(CLIENT)/bin/python $(PIP_INSTALL) -r requirements/client.txt
	@touch $@
