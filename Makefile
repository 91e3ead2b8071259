# Needs Python 3.11 or newer and make. Everything else is installed into .venv, once.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Without bytecode each of the many processes that are started here would compile the whole program first.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help

.PHONY: help run demo test lint format bench stress screenshots clean

help: ## Show this list
	@echo "OpenCode Analytics: what OpenCode did on this machine and what it cost."; echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Index OpenCode's data and open the dashboard (Ctrl-C ends both)
	@$(BIN)/python -m indexer.launcher $(ARGS)

demo: $(VENV)/.run ## The same with the bundled sample data
	@$(BIN)/python -m indexer.launcher --demo $(ARGS)

# Files of tests are dealt to processes, the longest first, and the first case of each test is measured; how many there
# are and what is long or measured stands in tests/conftest.py. Tests chosen by ARGS run in one process. Three thresholds,
# because one package's tests must not pay for another's; all are reported, then the run fails.
SPREAD := -n auto --dist loadfile --no-loadscope-reorder
test: $(VENV)/.dev ## Run all tests; fails below 90 % coverage of indexer and queries, 80 % of pages
	@$(BIN)/coverage erase
	@status=0; \
	$(BIN)/coverage run -m pytest $(or $(ARGS),$(SPREAD)) || status=1; \
	$(BIN)/coverage combine --quiet; \
	for limit in indexer:90 queries:90 pages:80; do \
		package=$${limit%:*}; percent=$${limit#*:}; echo; echo "Coverage of $$package, at least $$percent %"; \
		$(BIN)/coverage report --include="$$package/*" --fail-under="$$percent" || status=1; \
	done; exit $$status

lint: $(VENV)/.dev ## Check style, docstrings, types and known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m tests.docstrings .
	$(BIN)/mypy
	$(BIN)/python -m tests.audit requirements.txt

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

# S takes five minutes, M and L an hour and 12 GB of disk. FOLDER=DIR keeps the generated storages.
SIZES ?= S
bench: $(VENV)/.dev ## Measure everything against bare work in the same run, into docs/benchmarks.md (SIZES=S,M,L)
	@$(BIN)/python -m tests.bench --sizes $(SIZES) $(if $(FOLDER),--folder $(FOLDER)) $(ARGS)

stress: $(VENV)/.dev ## Kill the indexer 300 times, hand over 200 times, read while documents arrive (an hour)
	@$(BIN)/python -m tests.stress $(ARGS)

screenshots: $(VENV)/.dev ## Take the README's screenshots from the sample data (needs Chromium)
	@$(BIN)/python -m tests.browser.screenshots

clean: ## Remove the virtual environment and all caches (never your index)
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .coverage .coverage.* artifacts

# A stamp file says that the packages of a requirements file are installed, so a second call has nothing to do.
$(VENV)/.run: requirements.txt $(BIN)/python
	@echo "Installing the packages in requirements.txt into $(VENV) (once, a minute or two) ..."
	@$(BIN)/python -m pip install --quiet -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt requirements.txt $(BIN)/python
	@echo "Installing the packages in requirements-dev.txt into $(VENV) (once, a minute or two) ..."
	@$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch $@ $(VENV)/.run

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; found: $$(python3 --version 2>&1)." \
		"Install it, or name one: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is" \
		"$$("$(PYTHON)" --version 2>&1); Python 3.11 or newer is needed." >&2; exit 1; }
	@"$(PYTHON)" -m venv --clear $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make virtual environments." \
		"On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
