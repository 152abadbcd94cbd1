"""What a judge's decisions hang on in this package's own source: a revision that changes when any of it does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable

_RULES = tuple(f"geneval/{name}.py" for name in ("filtering", "relations", "rules", "types"))
_READING = tuple(
    f"evaluation/{name}"
    for name in ("scenes_judge.py", "explain.py", "shapes.py", "shapes.json", "silhouettes.py", "colours.py")
)


def rules_revision(package: Traversable | None = None) -> str:
    """Return twelve hex digits that change with GenEval's rules.

    Args:
        package: Where the package lies; this one when none.
    """
    return _revision(_RULES, package)


def scenes_revision(package: Traversable | None = None) -> str:
    """Return twelve hex digits that change with what judge B of Scenes sees, or with the rules it decides by.

    Args:
        package: Where the package lies; this one when none.
    """
    return _revision((*_READING, *_RULES), package)


def _revision(names: Iterable[str], package: Traversable | None) -> str:
    home = files("reflectionflow") if package is None else package
    digest = hashlib.sha256()
    for name in names:
        digest.update((home / name).read_bytes())
    return digest.hexdigest()[:12]
