# Two commands on a fresh machine: `make demo` and `make test`. Both keep their environment in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := hetero placement adaptive privacy
SOURCES := $(PACKAGES) tests examples scripts
PYTEST_ARGS ?=

.PHONY: help demo test lint format stubs wheel clean

help:
	@echo "make demo    install into .venv, serve the embedded model, stream from it over gRPC, on one stage and on three"
	@echo "make test    install the test tools as well, check the code, run all tests"
	@echo "make lint    ruff, mypy --strict, import rules, generated stubs"
	@echo "make format  let ruff rewrite the code"
	@echo "make stubs   generate hetero/v1 from proto/hetero/v1"
	@echo "make wheel   build the wheel into dist/"
	@echo "make clean   remove .venv and caches"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "hetero needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A stamp a set of extras: a second `make` installs nothing.
$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV), once: this takes some minutes"
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e ".[npu]"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV) with the test tools, once: this takes some minutes"
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e ".[npu,test,lint]"
	@touch $@ $(VENV)/.installed-demo

demo: $(VENV)/.installed-demo
	$(BIN)/python scripts/demo.py

# What starts no Ray runs on two cores at once; what does has the machine to itself.
test: lint
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not ray" --ignore=tests/test_architecture.py $(PYTEST_ARGS)
	$(BIN)/python -m pytest -q -m ray $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	@# Types take one core a minute; the rest is checked on the other one meanwhile.
	$(BIN)/mypy & types=$$!; \
	$(BIN)/python scripts/generate_stubs.py --check && $(BIN)/python -m pytest -q tests/test_architecture.py; rest=$$?; \
	wait $$types && exit $$rest

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

stubs: $(VENV)/.installed-dev
	$(BIN)/python scripts/generate_stubs.py

wheel: $(VENV)/.installed-dev
	$(BIN)/python -m hatchling build -t wheel

clean:
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
