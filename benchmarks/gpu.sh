#!/usr/bin/env bash
# Everything that wants a GPU, in one command: the benchmarks at GPU sizes and
# the tests marked `gpu`. Results go to $OUT, or to runs/benchmarks.
# SCALE=tiny tries it on a machine without one.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${OUT:-runs/benchmarks}
scale=${SCALE:-gpu}
python=${PYTHON:-python3}
mkdir -p "$out"
status=0

for benchmark in layer imbalance experts training decoding; do
    "$python" benchmarks/run.py "$benchmark" --scale "$scale" \
        --backend jax --backend torch --rounds "${ROUNDS:-5}" \
        --out "$out/${scale}_$benchmark.json" || status=1
done

for backend in jax torch; do
    KERAS_BACKEND=$backend "$python" -m pytest --quiet -m gpu tests \
        >"$out/${scale}_tests_$backend.txt" 2>&1 || status=1
    tail -n 1 "$out/${scale}_tests_$backend.txt"
done

exit $status
