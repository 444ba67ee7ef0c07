# Every target does its own set-up: a virtual environment in .venv with the pinned packages and the `ginkgo` command.

# The first Python that runs and is new enough; a name on the path may be a shim that fails, so each is tried.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
PYTHON_FORCED := $(if $(filter file,$(origin PYTHON)),0,1)
VENV = $(if $(PYTHON),PYTHON_FORCED=$(PYTHON_FORCED) $(PYTHON) .ci/environment.py,$(error No Python 3.11 or newer (with venv) was found; install one, or name it: make up PYTHON=/path/to/python3))
RUN := .venv/bin
# What a test starts is measured too (pyproject.toml); each package is held to the bar on its own.
MEASURED := portfolios/kernel scheduler nodes
COVERED ?= 85
# What Debian's servers have no part in, or a small one: those run in `make test`.
SPINE := $(addprefix --ignore=tests/,docs alerts market/history market/feeds market/test_control.py \
	market/test_topic_admin.py integration/live/test_overload.py integration/live/test_parity.py \
	ginkgo_site/test_stack.py ginkgo_site/test_cli.py api/test_served.py)

.DEFAULT_GOAL := help
.PHONY: help up down test test-slow test-servers check bench clean setup setup-dev

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: setup ## start everything: servers, nodes, portfolios, admin (Ctrl-C stops it; ARGS="--nodes 3")
	@exec $(RUN)/ginkgo up $(ARGS)

down: setup ## stop what `make up ARGS=--detach` started
	@exec $(RUN)/ginkgo down $(ARGS)

PYTEST := pytest -n 2 --dist loadfile --no-loadscope-reorder

test: setup-dev ## the tests, on real servers (ARGS="-k kernel")
	@$(RUN)/python -m $(PYTEST) $(ARGS)

.PHONY: coverage
coverage: setup-dev ## the tests, and how much of the kernel, the scheduler and the nodes they run (takes half as long again)
	@$(RUN)/coverage erase
	@$(RUN)/coverage run -m $(PYTEST) $(ARGS)
	@$(RUN)/coverage combine --quiet
	@failed=; for package in $(MEASURED); do \
		echo; $(RUN)/coverage report --include="$$package/*" --fail-under=$(COVERED) || failed="$$failed $$package"; done; \
	if [ -n "$$failed" ]; then echo "make: less than $(COVERED) % of the lines are covered in:$$failed" >&2; exit 1; fi

test-slow: setup-dev ## the drills with the real 30-second intervals
	@$(RUN)/python -m pytest -m slow $(ARGS)

test-servers: setup-dev ## the same tests on Debian's MariaDB and Redis, read back with kcat
	@$(RUN)/python -m tests.support.debian --pairs 2 \
		$(RUN)/python -m $(PYTEST) -m "servers and not slow" $(SPINE) $(ARGS)

.PHONY: drill-servers
drill-servers: setup-dev ## every drill on Debian's MariaDB and Redis, which are killed and started again (ARGS="chaos --seeds 5")
	@$(RUN)/python -m tests.support.debian --mortal $(RUN)/ginkgo drill $(ARGS)

check: setup-dev ## lint, format, types, layers, migrations, Django's own checks
	@$(RUN)/ruff check .
	@$(RUN)/ruff format --check .
	@$(RUN)/mypy
	@$(RUN)/lint-imports
	@$(RUN)/python manage.py makemigrations --check --dry-run
	@$(RUN)/python manage.py check

bench: setup-dev ## how fast it is, beside its peers, in one run (ARGS="routing --json")
	@$(RUN)/ginkgo bench $(ARGS)

.PHONY: bench-servers
bench-servers: setup-dev ## one benchmark with its books in Debian's MariaDB (ARGS="latency --json")
	@$(RUN)/python -m tests.support.debian $(RUN)/ginkgo bench $(ARGS)

clean: ## remove .venv, caches and coverage data; the books in .ginkgo stay
	@rm -rf .venv build htmlcov .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup:
	@$(VENV) run

setup-dev:
	@$(VENV) dev
