#!/bin/sh
# Naive papermill: each stage notebook in its order, each in a fresh kernel.
set -e
mkdir -p outputs
for notebook in nbs/stages/*.ipynb; do
    papermill --no-progress-bar "$notebook" "outputs/$(basename "$notebook")"
done
