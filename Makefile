# `make demo` runs the whole workflow on the built-in example; `make test` passes the tests. Both set everything up.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)
.PHONY: demo test test-slow test-cluster verify fuzz fuzz-guided lint lock notebooks clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("genesim needs Python 3.11 or newer: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[workflow]' --group dev
	touch $@

demo: $(VENV)/.installed
	$(BIN)/snakemake --profile profiles/default
	@echo "VCF    results/demo/sim/sim.vcf.gz"
	@echo "h5ad   results/demo/sim/sim.h5ad"
	@echo "truth  results/demo/sim/truth/"
	@echo "report results/demo/report.html"

# Files in order: one that waits long (a cluster's jobs) is early, and the third process then uses its core.
test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not slow" -q

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile -q

# As root, on Debian or Ubuntu: apt-get install --no-install-recommends slurm-wlm munge slurmdbd mariadb-server. Starts a
# SLURM of one node and ends it; the two shorter of these tests are in `make test` too.
test-cluster: $(VENV)/.installed
	$(BIN)/python -m pytest tests/cluster -q

# Known parameters recovered, against theory and brute force: verification/verification.csv and a plot a check.
verify: $(VENV)/.installed
	$(BIN)/python verification/verify.py

# Spoiled files into every reader, for FUZZ_SECONDS of CPU time; findings into fuzz-findings/.
FUZZ_SECONDS ?= 600
fuzz: $(VENV)/.installed
	$(BIN)/python tests/fuzz/run_fuzz.py --seconds $(FUZZ_SECONDS)

# The same readers, led by the lines that a file came to (atheris, Linux), for GUIDED_SECONDS a reader.
GUIDED_SECONDS ?= 20
fuzz-guided: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet atheris==3.0.0
	$(BIN)/python tests/fuzz/atheris_fuzz.py --seconds $(GUIDED_SECONDS)

lint: $(VENV)/.installed
	$(BIN)/ruff check genesim tests benchmarks verification notebooks
	$(BIN)/ruff format --check genesim tests benchmarks verification notebooks
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow workflows

# requirements.lock anew: what pyproject.toml resolves to on Python 3.11 and Linux today, with hashes, for the Containerfile.
lock: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --upgrade --extra slurm --unsafe-package genesim --build-deps-for wheel --strip-extras \
		--no-header --no-annotate --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--output-file requirements.lock pyproject.toml

notebooks: $(VENV)/.installed
	$(BIN)/jupyter-execute --inplace notebooks/*.ipynb

clean:
	rm -rf results .snakemake
