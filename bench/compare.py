"""Say whether two projects hold the same datasets; the bench asks it, so that it compares like with like."""

import json
import sys
from pathlib import Path

from pokeml.model_file import repeatable_skops


def content(path: Path) -> object:
    """Read what counts: the bytes; of JSON the value, of a skops file what pokeml would have made of these bytes."""
    if path.suffix == ".json":
        return json.loads(path.read_text("utf-8"))
    if path.suffix == ".skops" and "predictor" in path.stem:  # says which run made it, and of the peers none did
        from pokeml.predictor import dump_predictor, load_predictor

        return dump_predictor(load_predictor(path).made_by(None))
    return repeatable_skops(path.read_bytes()) if path.suffix == ".skops" else path.read_bytes()


def differences(one: Path, other: Path) -> list[str]:
    """Name the files below `data/` that only one of two projects has, or that differ."""
    files = {p.relative_to(root) for root in (one, other) for p in (root / "data").rglob("*") if p.is_file()}
    files = {f for f in files if not any(part.startswith(".") for part in f.parts)}
    both = {f for f in files if (one / f).is_file() and (other / f).is_file()}
    return sorted(str(f) for f in files if f not in both or content(one / f) != content(other / f))


if __name__ == "__main__":
    if found := differences(Path(sys.argv[1]), Path(sys.argv[2])):
        sys.exit(f"These datasets are not the same: {', '.join(found)}")
