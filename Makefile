# Both `make demo` and `make test` set up everything they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUST := $(shell find src -name '*.rs') build.rs Cargo.toml Cargo.lock .cargo/config.toml
EXTENSION := python/dnachunk/_rust.abi3.so

.PHONY: build demo test test-slow test-rust lint format bench clean
.DELETE_ON_ERROR:

build: $(EXTENSION)

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet "maturin>=1.16,<2" "torch==2.11.0"
	touch $@

$(EXTENSION): $(RUST) $(VENV)/ready
	. $(BIN)/activate && maturin develop --release --quiet --extras train,plot,dev
	touch $@

demo: build
	$(BIN)/dnachunk demo --output-dir demo

test: build test-rust
	$(BIN)/python -m pytest -q

test-slow: build
	$(BIN)/python -m pytest -q --slow

test-rust:
	cargo test --quiet --no-default-features

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
	rm -rf $(VENV) target demo $(EXTENSION)
