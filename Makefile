# Two commands do everything on a fresh machine with python3 (3.10 or later): `make demo` and `make test`.
# `make lab` opens the notebooks. For those who change the project: `make env`, `make check NB=05`, `make notebooks`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
OLD := vptsp needs Python 3.10 or later, this is
NO_EMOJI := No font with emoji: their names show as boxes in a browser (Debian: apt-get install fonts-noto-color-emoji).
NO_VENV := No virtual environment could be made: install your system's package for it (Debian: python3-venv).

.PHONY: demo test lab env check notebooks
demo: $(READY)
	$(BIN)/vptsp demo --out demo

test: $(READY)
	$(BIN)/python tests/stages.py

# the whole repository is served, so that links to data and changelog work
lab: $(READY)
	JUPYTER_CONFIG_PATH=nbs/.jupyter $(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --notebook-dir . $(LAB) nbs/index.ipynb

# with nbdev's hooks: notebooks are cleaned when saved, and merged cell by cell
env: $(READY)
	$(BIN)/nbdev_install_hooks
	@! command -v fc-list >/dev/null || fc-list | grep -qi emoji || echo "$(NO_EMOJI)"

$(READY): settings.ini setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "$(OLD) " + sys.version.split()[0] + ": make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "$(NO_VENV)"; rm -rf $(VENV); exit 2; }
	@echo "Installing into $(VENV); the first time takes some minutes (torch is large)."
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	@touch $@

# one notebook: export, ruff, run it
check: $(READY)
	$(BIN)/python tests/check_notebooks.py --one $(NB)

# modules from notebooks, outputs and README from running them
notebooks: $(READY)
	$(BIN)/python tests/check_notebooks.py --write
