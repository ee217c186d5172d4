# posesplat: `make demo` shows it, `make test` checks it. Needs Python 3.11 or newer, a C++17 compiler, and make.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
# An editable install knows the modules that existed when it was made: a new list of modules asks for a new install.
MODULES := $(shell find src/posesplat -name '*.py' | LC_ALL=C sort | cksum | cut -d ' ' -f 1)
INSTALLED := $(VENV)/.posesplat-installed-$(MODULES)
NATIVE := pyproject.toml CMakeLists.txt $(wildcard src/kernels/*)
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS)

.PHONY: install demo test test-all lint bench docs clean
.DELETE_ON_ERROR:

install: $(INSTALLED)

$(INSTALLED): $(NATIVE)
	@test -n "$(PYTHON)" || { echo "make: posesplat needs Python 3.11 or newer; found none that runs. Install it, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: posesplat needs Python 3.11 or newer; got $$($(PYTHON) --version). Name another: make PYTHON=/path/to/python3" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
# What it says it needs would replace half of what is there; what it really needs is in [dev].
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps depth-anything-3==0.1.1
	@touch $@

demo: $(INSTALLED)
	$(BIN)/posesplat demo --out demo-report

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

test: lint
	$(PYTEST) -m 'not slow'

test-all: lint
	$(PYTEST)

bench: $(INSTALLED)
	$(BIN)/posesplat bench kernel
	$(BIN)/posesplat bench localize

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo build/site/index.html

clean:
	rm -rf $(VENV) build dist demo-report .pytest_cache .mypy_cache .ruff_cache .hypothesis
