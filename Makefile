# `make run`: a signaling server on port 3001. `make test`: everything that must hold.
# Both need Python 3.10 or newer and Node with npm; what else they lack, they install.

PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11 python3.10; do \
	command -v $$each >/dev/null && $$each -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	&& echo $$each && break; done)
VENV := .venv
BIN := $(VENV)/bin
CLIENTS := tests/integration/node/node_modules/.installed
NODE_BENCH := benchmarks/node/node_modules/.installed

.PHONY: run test lint check-types unit system bench autobahn fuzz clean

run: $(VENV)/.run
	$(BIN)/rtcio-sync

# Real servers, clients and browsers on a machine that others use too: now and then one is starved for
# seconds. What is wrong fails each of three times; what had to be run again, the last lines say.
test: $(VENV)/.dev $(CLIENTS) $(NODE_BENCH) system
	$(BIN)/ruff check .
	$(BIN)/ruff format --check rtcio_sync
	$(BIN)/mypy --strict rtcio_sync
	$(BIN)/python -m pytest -q -n 3 --dist loadscope --no-loadscope-reorder --reruns 2

# What pip cannot install. A tool that is there already is left alone.
system:
	@./scripts/system-packages

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.10 or newer is needed, as python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || ./scripts/system-packages venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.run: $(VENV)/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.run

$(CLIENTS): tests/integration/node/package.json tests/integration/node/package-lock.json
	cd $(dir $<) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(NODE_BENCH): benchmarks/node/package.json benchmarks/node/package-lock.json
	cd $(dir $<) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

unit: $(VENV)/.dev
	$(BIN)/python -m pytest -q tests/test_*.py

bench: $(VENV)/.dev $(NODE_BENCH)
	$(BIN)/python -m benchmarks

# `make fuzz SECONDS=3600`: strange bytes against real servers, for as long as it is told.
SECONDS ?= 60
fuzz: $(VENV)/.dev
	FUZZ_SECONDS=$(SECONDS) $(BIN)/python -m pytest -q -s tests/fuzz --timeout 0

autobahn: $(VENV)/.dev
	$(BIN)/python tests/conformance/autobahn/run.py

clean:
	rm -rf $(VENV) build dist *.egg-info tests/integration/node/node_modules benchmarks/node/node_modules
