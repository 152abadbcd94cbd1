"""ReflectionFlow: a text-to-image model looks at its picture, says what is wrong, and paints it again.

    import reflectionflow as rf
    result = rf.generate("a photo of a red star left of a blue heart", images=16)
    result.best.image.show()

Importing this package loads no torch; models load when a search first needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reflectionflow.api import Result, agenerate, generate
    from reflectionflow.types import Budget, Candidate, Recipe, Reflection, Spend, StopReason, Verdict

__version__ = "0.1.0"

_HOME = {
    "generate": "reflectionflow.api",
    "agenerate": "reflectionflow.api",
    "Result": "reflectionflow.api",
    "Budget": "reflectionflow.types",
    "Candidate": "reflectionflow.types",
    "Recipe": "reflectionflow.types",
    "Reflection": "reflectionflow.types",
    "Spend": "reflectionflow.types",
    "StopReason": "reflectionflow.types",
    "Verdict": "reflectionflow.types",
}

__all__ = [
    "Budget",
    "Candidate",
    "Recipe",
    "Reflection",
    "Result",
    "Spend",
    "StopReason",
    "Verdict",
    "__version__",
    "agenerate",
    "generate",
]


def __getattr__(name: str) -> Any:
    """Load public names from their home module on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'reflectionflow' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return sorted(__all__)
