# Set up and run. Needs Python 3.11 or newer and a package registry; everything goes into .venv.

PYTHON ?= python3
ARGS ?=

VENV := .venv
CREATED := $(VENV)/.created
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
PIP_INSTALL := $(VENV)/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt

.PHONY: help demo test clean clean-compiled
.DELETE_ON_ERROR:

help:
	@echo "make demo     set up .venv, then run the whole way on an embedded sample"
	@echo "make test     set up .venv with the test tools, then run tools/check"
	@echo "make clean    remove .venv, caches, builds and the demo's files; clean-compiled: compiled functions alone"
	@echo
	@echo "PYTHON=python3.12    the Python to make .venv with (3.11 or newer; now: $(PYTHON))"
	@echo "ARGS=...             more arguments, e.g. make demo ARGS=\"--json\", make test ARGS=tests/scores"

demo: $(INSTALLED)
	$(VENV)/bin/vidface demo $(ARGS)

test: $(INSTALLED_DEV)
	tools/check $(ARGS)

$(CREATED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is missing or older than Python 3.11: say e.g. make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
		exit 1; }
	@$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || { \
		echo "making $(VENV) with $$($(PYTHON) --version)"; \
		$(PYTHON) -m venv $(VENV); }
	@touch $@

# Installed in place (editable), so only a change of the requirements makes it install again.
$(INSTALLED): $(CREATED) pyproject.toml constraints.txt
	@echo "installing vidface and its libraries into $(VENV): a few minutes, once"
	@$(PIP_INSTALL) -e '.[report]'
	@touch $@

$(INSTALLED_DEV): $(CREATED) pyproject.toml constraints.txt
	@echo "installing vidface, its libraries and the test tools into $(VENV): a few minutes, once"
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $(INSTALLED) $@

clean: clean-compiled
	rm -rf $(VENV) build dist runs/demo .mypy_cache .pytest_cache .ruff_cache .hypothesis

clean-compiled:
	find vidface tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
