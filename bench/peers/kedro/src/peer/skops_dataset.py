"""A scikit-learn estimator as a skops file, which kedro-datasets has no dataset for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import skops.io
from kedro.io import AbstractDataset

TRUSTED = ["numpy.dtype", "sklearn.tree._tree.Tree"]


class SkopsDataset(AbstractDataset[Any, Any]):
    """An estimator in a file that runs no code when it is loaded."""

    def __init__(self, filepath: str, trusted: Sequence[str] = (), metadata: dict[str, Any] | None = None):
        self.path, self.trusted, self.metadata = Path(filepath), [*TRUSTED, *trusted], metadata

    def load(self) -> Any:
        """Read the estimator."""
        return skops.io.load(self.path, trusted=self.trusted)

    def save(self, data: Any) -> None:
        """Write the estimator."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        skops.io.dump(data, self.path)

    def _exists(self) -> bool:
        return self.path.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self.path)}
