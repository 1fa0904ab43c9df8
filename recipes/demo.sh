#!/usr/bin/env bash
# Train a small network, write saliency maps with three networks, score them, and draw one picture: demo/.
#
#   recipes/demo.sh [FOLDER [NAME]]
#
# FOLDER is a data set that docs/datasets.md lists; without it, the sample set in datasets/sample. NAME is its name where the
# folder has another. PYTHON chooses the interpreter (default: .venv/bin/python). `make demo` calls this script.
set -euo pipefail
unset CDPATH
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
started_in=$PWD
python=${PYTHON:-.venv/bin/python}
marker=.made-by-make-demo

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

root=datasets/sample
set=sample
run=demo
more=()
if [ -n "${1:-}" ]; then
    case $1 in /*) root=$1 ;; *) root=$started_in/$1 ;; esac
    [ -d "$root" ] || fail "the data set's folder $root does not exist: DATA names an existing folder"
    root=$(cd -- "$root" && pwd)
    set=${2:-$(basename -- "$root")}
    case $set in */* | . | ..) fail "'$set' is not a data set's name: SET is one of those in docs/datasets.md, such as ORSSD" ;; esac
    run=demo/sets/$set
    more=(--data.dataset="$set" --epochs=3)
fi
cd -- "$here"

# A folder of an earlier demo carries a marker. Nothing else is removed.
folders=(untrained run lite2 scores)
for folder in "${folders[@]}"; do
    if [ -e "$run/$folder" ] && [ ! -f "$run/$folder/$marker" ]; then
        fail "$run/$folder exists and was not made by make demo: move it away, or remove it"
    fi
done
for file in maps.png table.md; do
    if [ -e "$run/$file" ] || [ -L "$run/$file" ]; then
        if [ ! -f "$run/scores/$marker" ] || [ -L "$run/$file" ] || [ -d "$run/$file" ]; then
            fail "$run/$file exists and was not made by make demo: move it away, or remove it"
        fi
    fi
done
for folder in "${folders[@]}"; do
    rm -rf -- "./$run/$folder"
    mkdir -p -- "./$run/$folder"
    : > "./$run/$folder/$marker"
done

train=("$python" train.py --config configs/demo.yaml --data.root="$root" ${more[@]+"${more[@]}"})
test_split=(--dataset="$set" --root="$root")
maps=(untrained="$run/untrained/maps" lite2="$run/lite2/maps" SRAL="$run/run/maps")

"${train[@]}" --output="$run/untrained" --epochs=0 --encoder_weights=none
"${train[@]}" --output="$run/run"
"$python" getsmaps.py --weights="$run/untrained/last.safetensors" "${test_split[@]}" --output="$run/untrained/maps"
"$python" getsmaps.py --weights="$run/run/last.safetensors" "${test_split[@]}" --output="$run/run/maps"
"$python" getsmaps.py "${test_split[@]}" --output="$run/lite2/maps"
for protocol in authors field; do
    "$python" compute_results/compute_metrics.py "${test_split[@]}" --maps "${maps[@]}" --protocol "$protocol" \
        --output="$run/scores/$protocol"
done
"$python" compute_results/gallery.py "${test_split[@]}" --maps "${maps[@]}" --output="$run/maps.png"
cat -- "$run/scores/authors/scores.md" "$run/scores/field/scores.md" > "$run/table.md"
printf 'Look at %s, %s and %s\n' "$run/maps.png" "$run/table.md" "$run/run/curves.png"
