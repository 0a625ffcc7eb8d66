# `make run` shows the package at work, `make test` tests it on every backend.
# Each makes what it needs in .venv; a fresh machine needs Python 3.11 and make.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Two targets must not run pip in one environment at a time: `make -j` is safe,
# and no faster.
.NOTPARALLEL:

BACKENDS := jax torch tensorflow
BACKEND ?= jax
VENV ?= .venv
# PYTHON=/path/to/python picks the interpreter; otherwise the first that fits.
PYTHON ?=

ifeq ($(filter $(BACKEND),$(BACKENDS)),)
$(error BACKEND is one of: $(BACKENDS). Received: BACKEND=$(BACKEND))
endif

# ---- what the targets run ---------------------------------------------------

RUN_COMMAND := $(VENV)/bin/keras-moe demo
SERVE_COMMAND := $(VENV)/bin/keras-moe serve runs/demo/saved_model --name demo

# Tests are many small programs: one worker per core, each of them with one
# thread, beats one process whose thread pools share the cores.
PYTEST_WORKERS ?= auto
PYTEST_ARGS ?=
# `make test` takes ten minutes; `make test-all` runs the rest too.
QUICK := not large and not exhaustive
ALL := not large
# Nearly all the time goes into compiling tiny programs: without XLA's costly
# passes that takes a third less, and with its older code for fusions on CPUs
# half of the rest (measured on one layer, forward and backward). A flag of
# XLA_FLAGS comes later, so it wins.
PYTEST := OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 \
	XLA_FLAGS="--xla_backend_optimization_level=0 \
	--xla_llvm_disable_expensive_passes=true \
	--xla_cpu_use_fusion_emitters=false $$XLA_FLAGS" \
	$(VENV)/bin/python -m pytest --quiet \
	--numprocesses $(PYTEST_WORKERS) --maxprocesses 4 --dist worksteal

NUMERIC_TESTS := $(addprefix tests/,ops routing losses metrics balancing \
	dispatch experts layers)

CODE := $(wildcard keras_moe tests examples benchmarks docs)

# Without the theme's notice about its own future.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs

EVIDENCE ?= runs/evidence
QUALITY = $(VENV)/bin/python benchmarks/quality.py --out $(EVIDENCE)

# TensorFlow announces its CPU features at every start.
export TF_CPP_MIN_LOG_LEVEL ?= 3

# Every process would compile all tests and all of keras_moe: 5 seconds.
unexport PYTHONDONTWRITEBYTECODE

# ---- set-up -----------------------------------------------------------------

# TensorFlow 2.21 has no wheels for Python 3.14; Debian's python3 may come
# without ensurepip, and then cannot make an environment.
PYTHON_FITS := import sys, venv, ensurepip; \
	sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON_CANDIDATES := $(or $(PYTHON),python3 python3.11 python3.12 python3.13)

PIP_INSTALL := $(VENV)/bin/python -m pip install -qq --no-compile \
	--disable-pip-version-check --constraint constraints.txt
# pip compiles one module after another, this on all cores: half a minute less.
# Some packages have files for other Pythons, which fail.
define compile
@echo "==> Compiling the packages' modules"; \
$(VENV)/bin/python -m compileall -qq -j 0 $(VENV)/lib || true
endef

TORCH := $(shell sed -n '/^torch==/p' constraints.txt)
RUN_PACKAGES = --editable '.[$*,hub,export,serve,cli,tensorboard]'
TEST_PACKAGES = --editable '.[dev]'
LIBTPU = --no-deps --upgrade --target $(VENV)/libtpu libtpu

# $(call install,<words for the reader>,<pip arguments>)
define install
@echo "==> Installing $(1)"; \
start=$$(date +%s); \
$(PIP_INSTALL) $(2) && echo "    done in $$(($$(date +%s) - start)) s"
endef

$(VENV)/bin/python:
	@for candidate in $(PYTHON_CANDIDATES); do \
		if "$$candidate" -c '$(PYTHON_FITS)' 2>/dev/null; then \
			echo "==> Making $(VENV) with $$("$$candidate" --version)"; \
			exec "$$candidate" -m venv $(VENV); \
		fi; \
	done; \
	echo "error: Expected Python 3.11, 3.12 or 3.13 with the venv module." \
		"Received: $(PYTHON_CANDIDATES)." \
		"Install one, or name it: make PYTHON=/path/to/python3.11" >&2; \
	exit 1

# A stamp is written when its packages are in; a newer pyproject.toml or
# constraints.txt makes it stale. One environment serves every target, so that
# `make test` after `make run` installs only what is missing.
STAMP := $(VENV)/.ready
REQUIREMENTS := pyproject.toml constraints.txt

# TensorFlow whatever the backend: keras-hub needs tensorflow-text, and the
# export is written by a TensorFlow child process.
$(STAMP)-jax $(STAMP)-torch $(STAMP)-tensorflow: $(STAMP)-%: \
		$(REQUIREMENTS) | $(VENV)/bin/python
	$(if $(filter torch,$*),$(call install,PyTorch,$(TORCH)))
	$(call install,TensorFlow (the longest step),tensorflow)
	$(if $(filter jax,$*),$(call install,JAX,jax))
	$(call install,keras-moe and keras-hub,$(RUN_PACKAGES))
	$(compile)
	@touch $@

$(STAMP)-test: $(REQUIREMENTS) | $(VENV)/bin/python
	$(call install,PyTorch,$(TORCH))
	$(call install,TensorFlow (the longest step),tensorflow)
	$(call install,JAX,jax)
	$(call install,keras-moe with keras-hub and pytest,$(TEST_PACKAGES))
	$(compile)
	@# Apart from the others: JAX would look for a TPU at every start. Where
	@# it cannot be had, the one test that needs it is skipped.
	-$(call install,libtpu to compile for TPUs,$(LIBTPU))
	@touch $@ $(BACKENDS:%=$(STAMP)-%)

$(STAMP)-benchmark: $(STAMP)-test
	$(call install,the peers of the benchmarks,--editable '.[benchmarks]')
	@touch $@

# The site is built from sources; the models are imported.
$(STAMP)-docs: $(REQUIREMENTS) | $(VENV)/bin/python
	$(call install,mkdocs-material and mkdocstrings,--editable '.[docs]')
	@touch $@

# ---- targets ----------------------------------------------------------------

.PHONY: help run serve test test-all test-avx2 \
	$(BACKENDS:%=test-%) benchmark evidence docs lint format clean

help:
	@echo "make run [BACKEND=jax|torch|tensorflow]  train, sample, export, verify"
	@echo "make serve                               the same, then a page for it"
	@echo "make test                                the tests, on every backend"
	@echo "make test-jax|test-torch|test-tensorflow the tests, on one backend"
	@echo "make test-all                            exhaustive tests as well"
	@echo "make test TURN=number                    half of them, as in CI"
	@echo "make test-avx2                           numbers without AVX-512"
	@echo "make benchmark                           every ratio against its target"
	@echo "make evidence [EVIDENCE=folder]          what small models learn, hours"
	@echo "make docs                                the site, in site/"
	@echo "make lint                                ruff and mypy"
	@echo "make format                              let ruff rewrite the files"
	@echo "make clean                               remove $(VENV) and caches"

run: $(STAMP)-$(BACKEND)
	@echo "==> $(RUN_COMMAND) (KERAS_BACKEND=$(BACKEND))"
	@KERAS_BACKEND=$(BACKEND) $(RUN_COMMAND)

# The demo trains once; a finished run is taken as it is.
serve: run
	@echo "==> $(SERVE_COMMAND)"
	@$(SERVE_COMMAND)

# $(call run_tests,<backends>,<marker expression>,<more pytest arguments>)
# Keras reads KERAS_BACKEND once, at import: a process per backend. A failure
# on one backend does not keep the others from being tested. What one process
# of JAX has compiled, the others of this run need not compile.
define run_tests
@failed=""; \
cache=$$(mktemp -d); \
trap 'rm -rf "$$cache"' EXIT; \
export JAX_COMPILATION_CACHE_DIR="$$cache"; \
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0; \
export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1; \
for backend in $(1); do \
	echo "==> Testing on $$backend"; \
	KERAS_BACKEND=$$backend $(PYTEST) -m "$(2)" $(3) $(PYTEST_ARGS) \
		|| failed="$$failed $$backend"; \
done; \
if [ -n "$$failed" ]; then \
	echo "make $@: tests failed on:$$failed"; exit 1; \
fi; \
echo "make $@: all tests passed on: $(1)"
endef

# With TURN=n half of the exhaustive tests too, and the other half with n + 1; on
# JAX the half that the others leave out. In one go: collecting takes 20 seconds.
test: $(STAMP)-test
	$(call run_tests,$(BACKENDS),$(if $(TURN),$(ALL),$(QUICK)),$(TURN:%=--turn %))

test-all: $(STAMP)-test
	$(call run_tests,$(BACKENDS),$(ALL))

# What rounds, on the instruction set of older processors, and with the code for
# fusions that users have: numbers must agree there too. TensorFlow 2.21 crashes
# on bfloat16 where oneDNN may use less than the processor has, so there it goes
# without oneDNN. With TURN=n on one backend, and on the next with n + 1.
AVX2_BACKENDS = $(if $(TURN),$(word \
	$(shell expr $(TURN) % 3 + 1),$(BACKENDS)),$(BACKENDS))
test-avx2: export ONEDNN_MAX_CPU_ISA := AVX2
test-avx2: export TF_ENABLE_ONEDNN_OPTS := 0
test-avx2: export ATEN_CPU_CAPABILITY := avx2
test-avx2: export XLA_FLAGS := $(XLA_FLAGS) --xla_cpu_max_isa=AVX2 \
	--xla_cpu_use_fusion_emitters=true
test-avx2: $(STAMP)-test
	$(call run_tests,$(AVX2_BACKENDS),$(QUICK),$(NUMERIC_TESTS))

$(BACKENDS:%=test-%): test-%: $(STAMP)-test
	$(call run_tests,$*,$(QUICK))

benchmark: $(STAMP)-benchmark
	$(VENV)/bin/keras-moe bench

# Each run is kept when it is done: the same command goes on after a stop. The
# long runs are on JAX, which compiles the step: half the time of PyTorch.
evidence: $(STAMP)-test
	KERAS_BACKEND=torch $(QUALITY) balancing capacity routers experts rate
	KERAS_BACKEND=jax $(QUALITY) rates pay longer
	test -e $(EVIDENCE)/vision_moe.svg || KERAS_BACKEND=torch \
		$(VENV)/bin/python examples/train_vision_moe.py --seeds 3 \
		--plot $(EVIDENCE)/vision_moe.svg

docs: $(STAMP)-docs
	$(MKDOCS) build --quiet
	@echo "make $@: open site/index.html"

lint: $(STAMP)-test
	$(VENV)/bin/python -m ruff check $(CODE)
	$(VENV)/bin/python -m ruff format --check $(CODE)
	$(VENV)/bin/python -m mypy

format: $(STAMP)-test
	$(VENV)/bin/python -m ruff check --fix $(CODE)
	$(VENV)/bin/python -m ruff format $(CODE)

clean:
	rm -rf $(VENV) build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
