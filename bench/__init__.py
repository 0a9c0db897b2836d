"""Time pokeml beside a plain script, Kedro and naive papermill; `make bench` runs it, README.md tells what it does."""
