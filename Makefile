# `make demo` and `make test` set up all they need in .venv; they ask for Python 3.11+ alone.
#
#   make demo                     poses on the example images, with the core dependencies only
#   make test                     linters, types and tests of everything, training included
#   make quick                    the tests that take no more than a few seconds each, with coverage
#   make demo PYTHON=python3.12   with a Python of your choice
#   make clean                    take .venv and what the tools left behind away

PYTHON ?= $(firstword $(foreach python,python3 python3.13 python3.12 python3.11 python,\
	$(shell $(python) -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null \
		&& echo $(python))))

# Pinned, so that all machines test with the same. PyPI's build for Linux brings CUDA along;
# with PyTorch's own CPU index in PIP_EXTRA_INDEX_URL, TORCH=torch==2.13.0+cpu is much smaller.
TORCH ?= torch==2.13.0

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# A process for each core shares the tests, up to four, each with one thread: networks of tests are
# so small that more threads wait for each other, the longer the busier the machine is. Coverage
# doubles the time of what exports networks: slow tests run without.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --quiet --numprocesses auto --maxprocesses 4
QUICK := $(PYTEST) -m "not slow" --cov --cov-report=term:skip-covered --cov-fail-under=90

.PHONY: demo test quick clean
.NOTPARALLEL:

demo: .venv/ready-for-demo
	@$(BIN)/heatpose demo

test: .venv/ready-for-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(QUICK)
	$(PYTEST) -m slow

quick: .venv/ready-for-test
	$(QUICK)

# The files named ready-for-... say what was installed; a changed pyproject.toml installs again.
.venv/ready-for-demo: .venv/bin/python pyproject.toml
	@echo "Installing heatpose and what inference needs into .venv"
	@$(INSTALL) --editable .
	@touch $@

.venv/ready-for-test: .venv/bin/python pyproject.toml
	@echo "Installing heatpose, torch and the tools for tests into .venv: some minutes"
	@$(INSTALL) "$(TORCH)"
	@$(INSTALL) --editable ".[dev]"
	@touch $@ .venv/ready-for-demo

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "heatpose needs Python 3.11 or newer, and none was found:" \
		"install one, or name it with PYTHON=..." >&2; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear .venv || { rm -rf .venv; echo "$(PYTHON) cannot make virtual" \
		"environments: on Debian and Ubuntu, install the package python3-venv" >&2; exit 1; }

clean:
	rm -rf .venv .coverage .mypy_cache .pytest_cache .ruff_cache
