# Each of these sets up everything it needs in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUST := $(shell find src -name '*.rs') build.rs Cargo.toml Cargo.lock
EXTENSION := python/dnachunk/_rust.abi3.so
WHEEL := $(VENV)/wheel/built
# What `make test-torch` installs beside the environment: a torch and, if it is not to be the environment's own,
# a transformers.
TORCH ?= 2.9.1
TRANSFORMERS ?=
LIGHT = $(VENV)/torch-$(TORCH)
BESIDE = PYTHONPATH=$(CURDIR)/$(LIGHT):$(CURDIR)/$(VENV)/wheel/unpacked

.PHONY: build demo docs docs-links test test-slow test-rust test-torch test-hf fuzz soak lint format bench wheel clean
.DELETE_ON_ERROR:

build: $(EXTENSION)

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet "maturin>=1.16,<2"
	touch $@

$(EXTENSION): $(RUST) $(VENV)/ready
	. $(BIN)/activate && maturin develop --release --quiet --extras train,plot,dev
	touch $@

demo: build
	$(BIN)/dnachunk demo --output-dir demo

# Into docs/_build/html. All pages are read each time, as Sphinx warns of a page only when it reads it; notebooks run
# once for each text of theirs, until `make clean`.
SPHINX = $(BIN)/python -m sphinx -W --keep-going -q -c docs -d docs/_build/doctrees docs/_build/source

docs: $(VENV)/docs-ready
	rm -rf docs/_build/html
	$(BIN)/python docs/_site/pages.py docs/_build/source
	$(SPHINX) docs/_build/html -E -b html
	$(BIN)/python docs/_site/check_links.py docs/_build/html

# Asks the network for every link that leads out.
docs-links: docs
	$(SPHINX) docs/_build/links -b linkcheck

$(VENV)/docs-ready: $(EXTENSION)
	. $(BIN)/activate && maturin develop --release --quiet --extras docs
	touch $@

# A process for each core, four at most, and each file of tests in one of them, as what a file sets up is costly; in
# their order, by which files of few but long tests do not come last.
PYTEST := $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: build test-rust
	$(PYTEST)

# One process: tests that stop what they run at a moment are among them.
test-slow: build
	$(BIN)/python -m pytest -q --slow

# Files that tests of readers write by the thousand; on a disk they take several times as long.
IN_MEMORY = TMPDIR=$(firstword $(wildcard /dev/shm) /tmp)

test-rust:
	$(IN_MEMORY) cargo test --quiet --no-default-features

# Mutated files, in memory: make fuzz FUZZ=100000 FUZZ_SEED=7, so many for each reader, and a hundredth for models.
FUZZ ?= 100000
FUZZ_SEED ?= 0

fuzz: build
	$(IN_MEMORY) FUZZ=$(FUZZ) FUZZ_SEED=$(FUZZ_SEED) cargo test --no-default-features --test fuzz -- --nocapture
	$(IN_MEMORY) $(BIN)/python -m tests.fuzz --count $(FUZZ) --seed $(FUZZ_SEED)

# The wheel under another torch: make test-torch TORCH=2.9.1 TRANSFORMERS=5.4.0
test-torch: $(WHEEL)
	$(BIN)/python release/light_torch.py $(TORCH) $(LIGHT) $(if $(TRANSFORMERS),--transformers $(TRANSFORMERS))
	sha256sum dist/*.whl
	$(BESIDE) $(BIN)/python release/expect.py torch=$(TORCH) dnachunk=$(VENV)/wheel/unpacked \
	  $(if $(TRANSFORMERS),transformers=$(TRANSFORMERS))
	$(BESIDE) $(PYTEST) tests/test_native.py tests/test_end_to_end.py tests/ops tests/nn tests/models

# Hours of everything at once: make soak MINUTES=60
MINUTES ?= 60
soak: build
	$(BIN)/python -m tests.soak --minutes $(MINUTES)

# Hugging Face's own common tests on every class.
test-hf: build
	$(BIN)/python tests/hf/fetch.py $(VENV)/hf
	$(BIN)/python -m pytest -q tests/hf --hf $(VENV)/hf/tests

# For glibc 2.28 and later, checked; then installed beside the newest torch, in an environment of its own.
wheel: $(WHEEL)
	$(BIN)/python release/smoke_test.py --fresh dist/*.whl

PACKAGE := $(shell find python -type f ! -path '*/__pycache__/*' ! -name '*.so') README.md LICENSE

$(WHEEL): $(EXTENSION) $(PACKAGE)
	rm -rf dist $(VENV)/wheel
	. $(BIN)/activate && maturin build --release --quiet --zig --out dist
	$(BIN)/python release/check_wheel.py dist/*.whl
	$(BIN)/python -m zipfile -e dist/*.whl $(VENV)/wheel/unpacked
	touch $@

lint: build
	cargo fmt --check
	. $(BIN)/activate && cargo clippy --quiet --all-targets -- -D warnings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/stubtest dnachunk._rust --mypy-config-file pyproject.toml

format:
	cargo fmt
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: build
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) target demo dist docs/_build $(EXTENSION)
