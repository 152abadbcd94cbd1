"""Strategies by name: the built-in ones, and those that other packages offer.

A package offers a strategy by an entry point of the group `reflectionflow.strategies` that names a `Strategy`:

    [project.entry-points."reflectionflow.strategies"]
    mine = "my_package.search:MINE"
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from reflectionflow.errors import MisuseError
from reflectionflow.runtime import Strategy
from reflectionflow.search.noise import NOISE

GROUP = "reflectionflow.strategies"
BUILT_IN = (NOISE,)


def strategy(name: str) -> Strategy:
    """Return the strategy of this name; built-in ones go first.

    Raises:
        MisuseError: if there is none, naming those there are, or if a package's strategy cannot be loaded.
    """
    for known in BUILT_IN:
        if known.name == name:
            return known
    for entry in entry_points(group=GROUP, name=name):
        return _load(entry)
    raise MisuseError(f"There is no strategy '{name}'; the strategies are {', '.join(strategy_names())}.")


def strategy_names() -> list[str]:
    """Return the names of all strategies: the built-in ones in their order, then other packages' by name."""
    built_in = [known.name for known in BUILT_IN]
    return built_in + sorted({entry.name for entry in entry_points(group=GROUP)} - set(built_in))


def _load(entry: EntryPoint) -> Strategy:
    origin = f"the strategy '{entry.name}' ({entry.value})"
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise MisuseError(
            f"{origin} cannot be loaded: {error}; reinstall or remove the package offering it."
        ) from error
    if not isinstance(found, Strategy):
        raise MisuseError(f"{origin} is of type {type(found).__name__}; it must be a reflectionflow.runtime.Strategy.")
    return found
