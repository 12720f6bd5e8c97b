# make repro   set up, run the pipeline, show the scores
# make test    set up, run the tests, except slow ones and parity tests whose code did not change
# make test-all  run all tests, and record in tests/parity.json which parity tests passed
# make check   formatter, linter, type checker
# make figures redraw the documents' figures, from the last run and a small one in two branches
# make experiments  give the experiments the pipeline of the root
# make lock    rewrite requirements.lock from pyproject.toml
#
# PIP_ARGS goes to pip install: `make repro PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"`
# takes the small CPU build of torch.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: repro test test-all check env dev experiments figures lock

repro: $(VENV)/.installed .dvc/config
	@python stages/plan.py --check; code=$$?; \
	if [ $$code -eq 3 ]; then echo "plan: recipes are new or out of date"; dvc repro --quiet --force --single-item plan; \
	elif [ $$code -ne 0 ]; then exit $$code; fi
	@dvc repro
	@echo; cat metrics/tables/ida_rd.md; echo; \
	echo "figure  metrics/plots/differences.png"; \
	for sheet in metrics/plots/contact_sheet-*.png; do echo "images  $$sheet"; done; \
	echo "page    metrics/report/index.html"; \
	echo "Next: add a downscaler to params.yaml and run \`make repro\` again; only its branch runs."

# One process per core, with one thread each.
PYTEST := OMP_NUM_THREADS=1 python -m pytest --numprocesses auto --dist worksteal

test: $(VENV)/.installed-dev
	$(PYTEST)

test-all: $(VENV)/.installed-dev
	$(PYTEST) --all --record-parity

check: $(VENV)/.installed-dev
	ruff format --check .
	ruff check .
	mypy

env: $(VENV)/.installed
dev: $(VENV)/.installed-dev

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint requirements.lock --editable .[pipeline]
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint requirements.lock --editable .[dev]
	touch $@

figures: $(VENV)/.installed
	python docs/figures/make.py
	python docs/figures/finding.py
	python docs/figures/compare.py
	python docs/figures/power.py

experiments: $(VENV)/.installed
	python experiments/sync.py

# Every extra but the non-commercial one, pyiqa: nobody's default commands are held to what that brings.
lock:
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --extra dev --extra perceptual \
		--no-emit-index-url --no-emit-find-links --upgrade --output-file requirements.lock pyproject.toml
