#!/usr/bin/env bash
# What a machine with a GPU can show within ten minutes, without a package registry:
#
#   make wheel                        (elsewhere, if there is no compiler here)
#   tools/gpu.sh [FOLDER]             (default: runs/gpu; PYTHON=python3 is one that has torch, triton and pytest)
#
# Every check writes its whole output to FOLDER; table.md there is what is printed last. The exit status is 0 if all
# checks passed, 1 if one failed or had no time left.
set -uo pipefail
cd "$(dirname "$0")/.."

folder=$(realpath -m "${1:-runs/gpu}")
python=${PYTHON:-python3}
budget_s=${BUDGET_S:-585}
mkdir -p "$folder"
export PYTHONPATH="$folder/site:$PWD" PYTHONUNBUFFERED=1
# Kernels are compiled once for all checks, anew for each run of this script.
TRITON_CACHE_DIR=$(mktemp -d)
export TRITON_CACHE_DIR MPLBACKEND=Agg
trap 'rm -rf "$TRITON_CACHE_DIR"' EXIT

table="$folder/table.md"
failed=0
printf '| check | result | seconds | last line |\n|---|---|--:|---|\n' >"$table"

# row NAME RESULT SECONDS LOG
row() {
  local last
  last=$(grep -v '^[[:space:]]*$' "$4" 2>/dev/null | tail -n 1 | tr '|' '/' | cut -c -140)
  printf '| %s | %s | %s | %s |\n' "$1" "$2" "$3" "$last" | tee -a "$table"
}

# check NAME SECONDS COMMAND…: runs a command for so long at most, and no longer than is left of the whole.
check() {
  local name=$1 limit=$2 log started left status
  shift 2
  log="$folder/${name// /_}.log"
  started=$SECONDS
  left=$((budget_s - SECONDS))
  if ((left < limit)); then limit=$left; fi
  if ((limit <= 0)); then
    : >"$log"
    row "$name" "no time left" 0 "$log"
    failed=1
    return
  fi
  timeout --kill-after=5 "$limit" "$@" >"$log" 2>&1
  status=$?
  case $status in
    0) row "$name" passed $((SECONDS - started)) "$log" ;;
    124 | 137) row "$name" "out of time" $((SECONDS - started)) "$log" && failed=1 ;;
    *) row "$name" "FAILED ($status)" $((SECONDS - started)) "$log" && failed=1 ;;
  esac
}

tests() {
  local name=$1 limit=$2
  shift 2
  check "$name" "$limit" "$python" -m pytest -q -p no:cacheprovider -m cuda "$@"
}

# sanitizer TOOL: the kernels, forward and backward, at small shapes; memory as it is asked for, so that a read behind
# a tensor is one behind an allocation.
sanitizer() {
  if command -v compute-sanitizer >/dev/null; then
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 check "compute-sanitizer $1" 60 \
      compute-sanitizer --tool "$1" --error-exitcode 66 --print-limit 20 \
      "$python" -m pytest -q -p no:cacheprovider -m cuda tests/test_cuda.py -k reads_nothing_back
  else
    echo "compute-sanitizer is not installed" >"$folder/compute-sanitizer_$1.log"
    row "compute-sanitizer $1" "not run" 0 "$folder/compute-sanitizer_$1.log"
  fi
}

wheels=(dist/*.whl)
if [[ ! -f ${wheels[0]} ]]; then
  echo "dist/ holds no wheel: make wheel, here or elsewhere, then copy it there" >&2
  exit 2
fi
if ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo "$python finds no GPU (or no torch): PYTHON=… names another" >&2
  exit 2
fi

check install 60 "$python" -m pip install --quiet --no-index --no-deps --upgrade --target "$folder/site" "${wheels[@]}"
check doctor 60 "$python" -m dnachunk doctor
tests "kernels against their definitions" 150 tests/test_cuda.py -k "against_the_definition"
tests "the same bits twice" 60 tests/test_cuda.py -k "same_bits"
tests "steps of the models" 60 tests/test_cuda.py -k "pretraining_step or waits"
sanitizer memcheck
sanitizer racecheck
check benchmarks 150 "$python" -m benchmarks --device cuda --repeats 9 --without compiled --output "$folder/benchmarks.json" \
  --filter selective_scan --filter causal_conv --filter window_attention --filter dechunk --filter basic_units \
  --filter token_merge --filter deformable_conv --filter boundary_routing --filter global_match \
  --filter neighbor_match --filter rotary --filter soft_assignment --filter soft_merge --filter window_center --filter pretraining_step
check notebook 60 "$python" -m tests.notebook notebooks/quickstart.ipynb "$folder"
tests "all other tests" 200 tests/test_cuda.py tests/test_random.py tests/ops tests/nn tests/models -k "not against_the_definition and not same_bits and not waits"

echo
cat "$table"
exit $failed
