PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Python is started for every job: compiling what it imports each time would take longer than the job
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-all test-dear unit lint style types config-docs

demo: $(BIN)/.demo  ## run the default study and tell where its page is
	conceptbridge demo

test: $(BIN)/.test style  ## style, then types and tests side by side: mypy uses one processor, and tests leave gaps
	$(MAKE) --jobs 2 types unit

unit: $(BIN)/.test
	pytest --numprocesses 2 --no-loadscope-reorder -m "not dear"

test-dear: $(BIN)/.test  ## what takes minutes and seldom breaks: kill chains, SLURM, the paper's grid
	pytest --numprocesses 2 --no-loadscope-reorder -m dear

test-all: test test-dear

config-docs: $(BIN)/.test  ## the tables of config/README.md, from the declarations of the keys
	python -m conceptbridge.study.config_tables config/README.md

lint: style types

style: $(BIN)/.test
	ruff check .
	ruff format --check .
	snakefmt --check workflow
	SLURM_CONF=/dev/null snakemake --lint
	lint-imports --no-cache

types: $(BIN)/.test
	mypy --num-workers 0

# an environment is made anew when pyproject.toml asks for other packages
$(BIN)/.demo: pyproject.toml
	$(PYTHON) -m venv .venv
	pip install --quiet --editable '.[demo]'
	touch $@

$(BIN)/.test: pyproject.toml
	$(PYTHON) -m venv .venv
	pip install --quiet --no-compile --editable '.[demo,slurm,test]'  # what is imported is compiled then
	touch $@
