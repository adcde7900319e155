# `make bench` and `make test` do all the set-up. Everything is installed into .venv.
# Works with GNU make 3.81 and later (macOS ships 3.81).

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup interpreters worker-test-env chromium bench site docs \
  check-links check test requirements clean

# To use another environment: make test VENV=/elsewhere
VENV ?= .venv
PYTHON3 ?= python3
# Options of `todobatch bench`, for example: make bench BENCH_FLAGS="--full"
BENCH_FLAGS ?= --quick
PYTEST_FLAGS ?=
INTERPRETERS ?= 3.14 3.14t

BIN := $(VENV)/bin
PYTHON := $(BIN)/python

# The stamp's name is a checksum of everything that the environment is made from, and of its path.
# A change of any of them changes the name, so make installs again.
MADE_FROM := requirements/bootstrap.txt requirements/dev.txt requirements/install \
  pyproject.toml reports/pyproject.toml
KEY := $(shell { cat $(MADE_FROM); echo '$(abspath $(VENV))'; $(PYTHON3) --version; } 2>&1 | cksum | tr ' ' -)
READY := $(VENV)/.ready-$(KEY)

# The measured interpreters run all tests but these, which need the controller's libraries.
CONTROLLER := lab cli reports repository benchmarks fuzz test_probe.py
TASK_PATH := tests $(CONTROLLER:%=--ignore=tests/%)
# Each test runs in four threads at once, twice; tests/conftest.py lists the exceptions. Tests of
# other processes are left out: threads in the test process would not stress them.
STRESSED := $(TASK_PATH) -m "not controller and not interpreters and not slow" \
  --parallel-threads=4 --iterations=2

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A page of the report, or one that says how to build it: the docs link to them.
REPORT := docs/report/index.md

setup: $(READY) $(REPORT) ## install the pinned and hashed dependencies into .venv

$(READY):
	@requirements/install "$(VENV)" "$(PYTHON3)"
	@rm -f "$(VENV)"/.ready-*
	@touch "$@"

$(REPORT): | $(READY)
	@$(PYTHON) -m todobatch_reports.site --placeholders

interpreters: $(READY) ## install the measured interpreters that are missing
	@$(BIN)/todobatch interpreters install $(INTERPRETERS)

chromium: $(READY) ## install a Chromium for the tests of the site, unless there is one
	@$(PYTHON) tests/tools/chromium.py

worker-test-env: interpreters ## install the test tools for the measured interpreters
	@$(PYTHON) tests/tools/run_on.py --prepare $(INTERPRETERS)

bench: interpreters ## measure this machine, print the verdict, build the site
	@$(BIN)/todobatch bench $(BENCH_FLAGS)
	@$(MAKE) --no-print-directory site

site: $(READY) ## build the site: docs, and the report of the newest or the published run
	@$(PYTHON) -m todobatch_reports.site

docs: $(READY) $(REPORT) ## serve the docs, and build them again whenever a page changes
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --livereload

check-links: site ## look for broken links in the built site
	@$(PYTHON) tests/tools/check_links.py site

check: $(READY) ## run ruff and mypy --strict (CI and pre-commit run this)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy --strict

# Two halves run side by side, because the first mostly waits for the processes that it starts.
FIRST_HALF := tests/lab tests/repository/test_docs_commands.py
define OTHER_HALF
set -e; \
$(PYTHON) -m pytest tests $(FIRST_HALF:%=--ignore=%) $(PYTEST_FLAGS); \
for python in $(INTERPRETERS); do \
  echo "the tests of the task path on $$python:"; \
  $(PYTHON) tests/tools/run_on.py $$python $(TASK_PATH) $(PYTEST_FLAGS); \
done; \
echo "the same in four parallel threads without a GIL, twice:"; \
$(PYTHON) tests/tools/run_on.py 3.14t $(STRESSED) $(PYTEST_FLAGS)
endef

test: interpreters worker-test-env chromium ## run all tests, on each interpreter, and in parallel threads
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	echo "half of the tests run in the background; their output follows, and is in $$log until then"; \
	($(OTHER_HALF)) >"$$log" 2>&1 & beside=$$!; \
	$(PYTHON) -m pytest $(FIRST_HALF) $(PYTEST_FLAGS); first=$$?; \
	wait $$beside; other=$$?; \
	cat "$$log"; \
	[ $$first -eq 0 ] && [ $$other -eq 0 ]

UV_COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --universal \
  --custom-compile-command "make requirements"
requirements: $(READY) ## pin and hash the dependencies (UPGRADE=--upgrade for newer versions)
	$(UV_COMPILE) $(UPGRADE) --python-version 3.11 --extra lab --extra asv --extra reports \
	  --no-emit-package todobatch --no-emit-package todobatch-reports \
	  pyproject.toml requirements/dev.in -o requirements/dev.txt
	$(UV_COMPILE) $(UPGRADE) --python-version 3.11 -c requirements/dev.txt \
	  requirements/bootstrap.in -o requirements/bootstrap.txt
	$(UV_COMPILE) $(UPGRADE) --python-version 3.13 -c requirements/dev.txt \
	  requirements/worker-test.in -o requirements/worker-test.txt
	$(UV_COMPILE) $(UPGRADE) --python-version 3.11 --extra peers -c requirements/dev.txt \
	  pyproject.toml -o todobatch/lab/drill/peers-requirements.txt

clean: ## remove .venv, the site and caches, never results
	rm -rf .venv site docs/report build dist .asv/env .asv/html .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
