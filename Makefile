# Two commands do everything on a fresh machine with python3 (3.10 or later): `make demo` and `make test`. `make lab` opens the notebooks.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: demo test lab env readme notebooks
demo: $(READY)
	$(BIN)/vptsp demo --out demo

test: $(READY)
	$(BIN)/python tests/check_notebooks.py
	$(BIN)/python -m pytest tests -q -ra

lab: $(READY)
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --notebook-dir nbs index.ipynb

env: $(READY)
$(READY): settings.ini setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "vptsp needs Python 3.10 or later, this is " + sys.version.split()[0] + ": make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "No virtual environment could be made: install your system's package for it (Debian: python3-venv)."; rm -rf $(VENV); exit 2; }
	@echo "Installing into $(VENV); the first time takes some minutes (torch is large)."
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	@touch $@

# for those who change the project: modules from notebooks, outputs and README from running them
notebooks: $(READY)
	$(BIN)/python tests/check_notebooks.py --write
