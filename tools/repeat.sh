#!/bin/sh
# Runs tests again and again, each time with another seed of Hypothesis and of the model, until one
# fails: tools/repeat.sh PYTHON TIMES TEST-OR-OPTION-OF-PYTEST... What repeats the failure is shown.
set -eu

if [ $# -lt 3 ]; then
    echo "usage: tools/repeat.sh PYTHON TIMES TEST..." >&2
    exit 2
fi
python=$1
times=$2
shift 2

run=1
while [ "$run" -le "$times" ]; do
    seed=$("$python" -c 'import secrets; print(secrets.randbits(32))')
    if ! TREADLE_MODEL_START="$seed" "$python" -m pytest -q -x -n 0 --hypothesis-seed="$seed" "$@"; then
        echo "run $run of $times failed; repeat it with:" >&2
        echo "TREADLE_MODEL_START=$seed pytest --hypothesis-seed=$seed $*" >&2
        exit 1
    fi
    run=$((run + 1))
done
echo "$times runs, no failure"
