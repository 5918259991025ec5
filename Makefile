.DEFAULT_GOAL := help
.PHONY: help demo try-out try-out-down quick check test unit integration e2e documents bench soak screenshot lock release clean

# The first of these that runs and is new enough makes the environment; `make PYTHON=/path/to/python` chooses one.
PYTHON ?= python3 python3.13 python3.12 python3.11
PIP_TOOLS = pip-tools==7.6.2

# Tests start hundreds of processes, each of which would compile everything again.
unexport PYTHONDONTWRITEBYTECODE

VENV = .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
HASHED = --require-hashes --no-deps --only-binary :all:
PIP = $(BIN)/python -m pip --disable-pip-version-check -qq

# Shell text that puts into $$python the first candidate for which the given Python expression holds.
# A candidate is run, not only looked for: a version manager's stand-in can exist and still fail.
find_python = python=; for candidate in $(PYTHON); do \
	if "$$candidate" -c 'import ensurepip, sys, venv; sys.exit(not ($(1)))' >/dev/null 2>&1; \
	then python="$$candidate"; break; fi; done; \
	if [ -z "$$python" ]; then \
	echo "Billfold needs $(2) with its venv module; none of these is: $(PYTHON)." >&2; \
	echo "Install it, or name it: make PYTHON=/path/to/python" >&2; exit 1; fi

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo "Options of the command behind a target go into ARGS, e.g. make demo ARGS=--no-serve"

demo: $(INSTALLED) ## Ingest a generated bill from a local stand-in for S3 into an embedded PostgreSQL.
	$(BIN)/billfold demo $(ARGS)

# The services of deploy/compose.yaml beside a local AWS, apart from those that a real deployment on this machine has.
# What the shell exports would win over the try-out's own settings, such as the region that its queue stands in.
try_out = env $$(sed -n 's/^\([A-Z_]*\)=.*/-u \1/p' deploy/try-out.env) docker compose --project-name billfold-try-out --file deploy/compose.yaml --env-file deploy/try-out.env \
	--profile try-out

try-out: ## Run it all in containers: PostgreSQL, server, worker, schedule, and a local AWS with bills. Needs Docker.
	$(try_out) up --build --detach $(ARGS)
	$(try_out) logs --no-log-prefix try-out

try-out-down: ## End the try-out and forget it.
	$(try_out) down --volumes

# A test waits for other processes half of its time, so there are more test processes than cores. Each takes whole
# modules, whose tests share what their module has landed, the slowest first (tests/order.py).
PYTEST = $(BIN)/python -m pytest -p tests.no_skips --durations 20
PARALLEL = -n $(JOBS) --dist loadscope --no-loadscope-reorder
JOBS ?= 4

# Tests of documents and of deployment files have a lane of their own: run the others after a change of Python.
DOCUMENTS = tests/unit/deploy tests/integration/deploy tests/e2e/test_try_out.py

quick: ## Check, and run the unit tests: under a minute.
	@$(MAKE) -j2 check unit

test: $(VENV)/.browser ## Run all tests: the lanes unit, integration, e2e and documents.
	$(PYTEST) $(PARALLEL) $(ARGS)

unit: $(INSTALLED) ## Run the lane of the unit tests.
	$(PYTEST) tests/unit $(DOCUMENTS:%=--ignore %) $(ARGS)

integration: $(INSTALLED) ## Run the lane of the tests with a database and a local AWS.
	$(PYTEST) $(PARALLEL) tests/integration $(DOCUMENTS:%=--ignore %) $(ARGS)

e2e: $(VENV)/.browser ## Run the lane of the tests of commands and pages.
	$(PYTEST) $(PARALLEL) tests/e2e $(DOCUMENTS:%=--ignore %) $(ARGS)

documents: $(INSTALLED) ## Run the lane of the tests of documents and deployment files.
	$(PYTEST) $(PARALLEL) $(DOCUMENTS) $(ARGS)

check: $(INSTALLED) ## Check format, lint, types and the direction of imports.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.browser ## Time cold ingests, restatements, a large bill, a year of reports, pages, scrapes and waits beside a flood, as ratios.
	$(BIN)/python -m tests.benchmarks.cold_ingest $(ARGS)
	$(BIN)/python -m tests.benchmarks.restatement $(ARGS)
	$(BIN)/python -m tests.benchmarks.large_ingest $(ARGS)
	$(BIN)/python -m tests.benchmarks.dashboard $(ARGS)
	$(BIN)/python -m tests.benchmarks.pages $(ARGS)
	$(BIN)/python -m tests.benchmarks.fairness $(ARGS)
	$(BIN)/python -m tests.benchmarks.scrapes $(ARGS)

soak: $(INSTALLED) ## Kill ingests and starts, interrupt commands, damage files, restate at random, share 10,000 events: no promise breaks.
	$(BIN)/python -m tests.soak $(ARGS)

screenshot: $(VENV)/.browser ## Photograph the dashboard with the demo's bills, for the README.
	$(BIN)/python -m tests.screenshot $(ARGS)

# Compiled by the oldest Python supported, so that every pin installs on the newer ones too.
# Pins stay as they are where they can; `make lock ARGS=--upgrade` moves them all. The container image installs the
# smaller files: what runs, what the try-out adds, what builds the wheel, each at the versions of requirements.txt.
compile = $(VENV)-lock/bin/pip-compile --quiet --strip-extras --allow-unsafe --generate-hashes --no-header \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links

lock: ## Rewrite requirements*.txt from pyproject.toml (needs Python 3.11).
	@set -e; $(call find_python,sys.version_info[:2] == (3, 11),Python 3.11); \
	"$$python" -m venv --clear $(VENV)-lock; \
	$(VENV)-lock/bin/python -m pip --disable-pip-version-check -qq install '$(PIP_TOOLS)'
	$(compile) --all-extras --output-file requirements.txt $(ARGS) pyproject.toml
	$(compile) --constraint requirements.txt --output-file requirements-runtime.txt pyproject.toml
	$(compile) --constraint requirements.txt --extra demo --output-file requirements-demo.txt pyproject.toml
	$(compile) --constraint requirements.txt --build-deps-for wheel --only-build-deps \
		--output-file requirements-build.txt pyproject.toml
	@rm -rf $(VENV)-lock
	@if grep -nE '://|file:' requirements*.txt; then echo "a file of requirements names an address" >&2; exit 1; fi

release: $(INSTALLED) ## Build wheel and sdist, install each with pip and uv, and run the demo there.
	$(BIN)/python -m tools.release $(ARGS)

clean: ## Remove the environment and everything built or cached.
	rm -rf $(VENV) $(VENV)-lock build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A worktree may share the environment of another one by a link. Making it here would empty that one, or install this
# worktree's code there.
refuse_link = @if [ -L $(VENV) ]; then \
	echo "$(VENV) is a link to another environment, which is out of date. Run make there, or remove the link." >&2; exit 1; fi

# Two stamps, each touched last: a change of pyproject.toml alone does not install the libraries again.
$(VENV)/.libraries: requirements.txt
	$(refuse_link)
	@set -e; $(call find_python,sys.version_info >= (3, 11),Python 3.11 or newer); \
	echo "Making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv --clear $(VENV)
	@# uv installs in seconds what takes pip a minute; where it cannot, pip does, with its own settings.
	@awk '/^[a-zA-Z0-9]/ { is_uv = /^uv==/ } is_uv' requirements.txt >$(VENV)/requirements-uv.txt
	@$(PIP) install $(HASHED) --no-compile --requirement $(VENV)/requirements-uv.txt && \
		$(BIN)/uv pip install --quiet --python $(BIN)/python $(HASHED) --requirement requirements.txt || \
		$(PIP) install $(HASHED) --no-compile --requirement requirements.txt
	@touch $@

$(INSTALLED): $(VENV)/.libraries pyproject.toml
	$(refuse_link)
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip check || { echo "requirements.txt is behind pyproject.toml: run make lock" >&2; exit 1; }
	@touch $@

# The pages are tested in a Chromium: the machine's, else Playwright's own, else the system's package.
$(VENV)/.browser: $(INSTALLED)
	@$(BIN)/python -m tests.browser || { $(BIN)/playwright install chromium && $(BIN)/python -m tests.browser; } || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
			DEBIAN_FRONTEND=noninteractive apt-get install -qq -y chromium && $(BIN)/python -m tests.browser; } || \
		{ echo "The tests of pages need Chromium: install it, or run $(BIN)/playwright install --with-deps chromium" >&2; exit 1; }
	@touch $@
