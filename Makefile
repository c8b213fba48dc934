# setup · demo · test · stress · check · docs · bench: what the README tells a newcomer; CI calls these and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := train,download
DEV_EXTRAS := $(EXTRAS),docs,nncf,wandb,tensorboard,imagenet,audiomentations,ffmpeg,speech,storage,cluster,report,review,birdnet,search,test,check
PIP_INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
DEMO_ARGS := $(if $(AUDIO),--audio "$(AUDIO)") $(if $(SOUNDSCAPES),--soundscapes "$(SOUNDSCAPES)") $(if $(OUT),--out "$(OUT)")

# Tests share the cores, each of them with one thread.
TEST_WORKERS ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: setup demo test stress check docs bench

setup: $(VENV)/.installed

# The package itself, without the tools that only developers need.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name it with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing the packages pinned in constraints.txt (a few minutes the first time) ..."
	$(PIP_INSTALL) --editable ".[$(EXTRAS)]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP_INSTALL) --editable ".[$(DEV_EXTRAS)]"
	@touch $@

demo: setup
	$(BIN)/dawnchorus demo $(DEMO_ARGS)

# The page of a review is tested in Chromium where there is one: apt-get install chromium, or CHROMIUM=path.
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadscope $(PYTEST_ARGS)

# What make test leaves out: half an hour of kills, full disks and damaged files, a compiler, a second engine.
# Its table goes to benchmarks/results/reliability.json, for docs/development/reliability.md.
stress: $(VENV)/.installed-dev
	rm -f stress_counts.jsonl
	@status=0; \
	OMP_NUM_THREADS=1 DAWNCHORUS_STRESS_COUNTS=$(CURDIR)/stress_counts.jsonl \
		$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadscope -m stress $(PYTEST_ARGS) || status=$$?; \
	$(BIN)/python benchmarks/reliability.py stress_counts.jsonl --json benchmarks/results/reliability.json; \
	exit $$status

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/typos

# Pages in docs/_build/html, the notebooks executed; every block of the tutorial and of the pages on Python is run.
docs: $(VENV)/.installed-dev
	$(BIN)/python docs/tools/recipe_pictures.py
	rm -rf docs/_build/html
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html
	@set -e; for page in docs/tutorial.md docs/how_to/python.md docs/how_to/own_parts.md; do \
		$(BIN)/python -m pytest --exitfirst --verbose --timeout=0 $$page; \
	done

bench: $(VENV)/.installed-dev
	@set -e; for program in benchmarks/bench_*.py; do \
		name=$$(basename $$program .py); \
		$(BIN)/python $$program $(BENCH_ARGS) --json benchmarks/results/$$name.json; \
	done
