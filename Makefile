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

# The dashboard's front end is built where there is a Node that can; a broker runs without it, too.
FRONT := src/nexo/dashboard/index.html
FRONT_SOURCES := $(wildcard dashboard/*.html dashboard/*.ts dashboard/*.json) $(shell find dashboard/src dashboard/public -type f)
NODE_THERE := command -v npm >/dev/null && node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' 2>/dev/null
export PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD := 1

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

.PHONY: help run build dashboard front test lint lint-dashboard test-dashboard wheel dist test-dist format format-dashboard generate screenshots fuzz kill simulate turns floods bench clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-11s %s\n", $$1, $$2 }'

run: $(SETUP) front  ## Start a broker on 127.0.0.1:7654 (ARGS="--port 0 ..." adds flags)
	@exec $(PY) -m nexo serve $(ARGS)

build: $(SETUP)  ## Set up .venv and compile the hot modules in place
	@$(PY) -m nexo --version

dashboard: $(FRONT)  ## Build the dashboard into src/nexo/dashboard (Node 20.19 or later, npm)

# The same for those who can do without: what is missing is said, and the rest goes on.
front:
	@if ! { $(NODE_THERE); }; then echo "nexo: no Node.js 20.19 or later with npm here: the dashboard is not built, the broker runs without it" >&2; \
	elif ! $(MAKE) --no-print-directory --silent dashboard; then echo "nexo: the dashboard could not be built (see above); the broker runs without it" >&2; fi

test: $(SETUP) $(CLIENT)/.installed front  ## Run all tests (ARGS="tests/brokers -k expiry" picks)
	$(PY) -m pytest -n 2 --dist worksteal $(ARGS)

test-dashboard: $(SETUP) $(FRONT)  ## The dashboard's tests alone; they fail without Chromium (apt-get install chromium)
	BROWSER_TESTS=1 $(PY) -m pytest tests/dashboard $(ARGS)

wheel: $(VENV)/.compiled $(FRONT)  ## Build a wheel into dist/: compiled, with the dashboard, for this Python and system
	@rm -rf build/lib* build/bdist* dist/*.whl
	@$(PY) -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

dist: $(VENV)/.compiled $(VENV)/.dist $(FRONT)  ## Build dist/nexo: broker, dashboard and command in one file that needs no Python
	@$(PY) -m PyInstaller --noconfirm --log-level WARN --distpath dist --workpath build/pyinstaller deploy/nexo.spec
	@dist/nexo --version

test-dist: wheel dist  ## Test the wheel in an empty environment, and the executable without Python
	DIST_TESTS=1 $(PY) -m pytest tests/dist $(ARGS)

lint: $(VENV)/.installed  ## ruff and mypy --strict; tsc --strict and prettier for the dashboard
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PY) -m mypy src examples
	MYPYPATH=benchmarks $(PY) -m mypy benchmarks
	@if $(NODE_THERE); then $(MAKE) --no-print-directory lint-dashboard; else echo "no Node.js 20.19 or later with npm here: the dashboard is not checked" >&2; fi

lint-dashboard: dashboard/node_modules/.installed
	cd dashboard && npm run --silent lint

format: $(VENV)/.installed  ## Let ruff format the code and sort its imports
	$(VENV)/bin/ruff check --select I --fix .
	$(VENV)/bin/ruff format .
	@if $(NODE_THERE); then $(MAKE) --no-print-directory format-dashboard; fi

format-dashboard: dashboard/node_modules/.installed
	cd dashboard && npm run --silent format

generate: $(VENV)/.installed  ## Write the blocking client from the async one
	$(PY) tools/generate_blocking.py

screenshots: $(SETUP) $(FRONT)  ## Take the pictures of the dashboard for the documents (needs Chromium)
	$(PY) tools/screenshots.py $(ARGS)

fuzz: $(SETUP)  ## Throw random bytes at every codec for SECONDS (default 60)
	$(PY) tests/fuzz/run.py --seconds $(SECONDS)

kill: $(SETUP)  ## Kill a server under load ROUNDS times (default 20); look for what it had confirmed, and for anomalies
	$(PY) tests/faults/killing.py --rounds $(ROUNDS) $(ARGS)
	$(PY) tests/faults/histories.py --kills $(ROUNDS)

simulate: $(SETUP)  ## Run a whole node on a simulated disk, with faults, for SECONDS (SEED=n repeats one)
	$(PY) -m tests.simulation.simulate --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

turns: $(SETUP)  ## Measure the longest turn of the loop with millions of keys and messages alive
	$(PY) tests/faults/turns.py $(ARGS)

floods: $(SETUP)  ## Flood a server with connections, garbage, huge lengths and slow greetings (ARGS="--connects 20000")
	$(PY) tests/faults/floods.py $(ARGS)

bench: $(SETUP) $(VENV)/.bench  ## Measure Nexo and its peers; writes docs/benchmarks.md
	$(PY) benchmarks/run.py $(ARGS)

clean:  ## Remove everything that the targets above have made
	rm -rf $(VENV) $(CLIENT) build dist src/*.egg-info dashboard/node_modules src/nexo/dashboard .pytest_cache .mypy_cache .ruff_cache .hypothesis
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

dashboard/node_modules/.installed: dashboard/package.json dashboard/package-lock.json
	@$(NODE_THERE) || { echo "The dashboard needs Node.js 20.19 or later, and npm" >&2; exit 1; }
	@echo "Setting up the dashboard's tools ..."
	@cd dashboard && npm ci --silent --no-audit --no-fund
	@touch $@

$(FRONT): dashboard/node_modules/.installed $(FRONT_SOURCES)
	@$(NODE_THERE) || { echo "The dashboard needs Node.js 20.19 or later, and npm" >&2; exit 1; }
	@echo "Building the dashboard ..."
	@cd dashboard && npm run --silent build -- --logLevel warn

$(VENV)/.bench: $(VENV)/.locked requirements/bench.txt
	@$(PY) $(PIP_INSTALL) -r requirements/bench.txt
	@touch $@

$(VENV)/.dist: $(VENV)/.locked requirements/dist.txt
	@$(PY) $(PIP_INSTALL) -r requirements/dist.txt
	@touch $@

$(CLIENT)/.installed: requirements/client.txt
	@test -x $(CLIENT)/bin/python || $(PYTHON) -m venv $(CLIENT)
	@$(CLIENT)/bin/python $(PIP_INSTALL) -r requirements/client.txt
	@touch $@
