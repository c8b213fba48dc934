# setup · demo · test · check · bench: what the README tells a newcomer; CI calls these and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
DEMO_ARGS := $(if $(AUDIO),--audio "$(AUDIO)") $(if $(SOUNDSCAPES),--soundscapes "$(SOUNDSCAPES)") $(if $(OUT),--out "$(OUT)")

.PHONY: setup demo test check bench

setup: $(VENV)/.installed

# The package itself, without the tools that only developers need.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name it with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing the packages pinned in constraints.txt (a few minutes the first time) ..."
	$(PIP_INSTALL) --editable ".[train]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP_INSTALL) --editable ".[train,test,check]"
	@touch $@

demo: setup
	$(BIN)/dawnchorus demo $(DEMO_ARGS)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/typos

bench: $(VENV)/.installed-dev
	@set -e; for program in benchmarks/bench_*.py; do \
		name=$$(basename $$program .py); \
		$(BIN)/python $$program $(BENCH_ARGS) --json benchmarks/results/$$name.json; \
	done
