"""Strategies by name: the built-in ones, those that other packages offer, and strategy files.

A package offers a strategy by an entry point of the group `reflectionflow.strategies` that names a `Strategy`, or a
`StrategySpec` when the strategy has options:

    [project.entry-points."reflectionflow.strategies"]
    mine = "my_package.search:MINE"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any

from reflectionflow.errors import ConfigError, MisuseError
from reflectionflow.plugins import meant
from reflectionflow.runtime import Strategy
from reflectionflow.search import presets
from reflectionflow.search.adaptive import ADAPTIVE
from reflectionflow.search.noise import NOISE
from reflectionflow.search.options import StrategySpec, with_hint
from reflectionflow.search.prompt import PROMPT
from reflectionflow.search.reflection import REFLECTION

GROUP = "reflectionflow.strategies"
Method = Strategy | StrategySpec[Any]
BUILT_IN: tuple[Method, ...] = (NOISE, PROMPT, REFLECTION, ADAPTIVE)
NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


def strategy(name: str | Path, options: Mapping[str, Any] = NO_OPTIONS) -> Strategy:
    """Return the strategy of this name with these options; built-in ones go first.

    Args:
        name: Of a search method or of a shipped strategy file, or the path of a strategy file.
        options: Options of the method; they go over those of a strategy file.

    Raises:
        ConfigError: if a strategy file has faults.
        MisuseError: if there is no such strategy, naming those there are, if a package's strategy cannot be loaded, or
            if options are unknown or refused; all reasons at once.
    """
    method = _method(str(name))
    if method is not None:
        return _configured(method, options)
    found = presets.find(name)
    if found is None:
        names = strategy_names()
        hint = meant(str(name), names)
        raise MisuseError(f"There is no strategy '{name}'{hint}; the strategies are {', '.join(names)}.")
    path, preset = found
    method = _method(preset.strategy)
    if method is None:
        methods = _method_names()
        named = f"'{preset.strategy}'{meant(preset.strategy, methods)}"
        raise ConfigError(str(path), [f"there is no strategy {named}; the strategies are {', '.join(methods)}"])
    return replace(_configured(method, {**preset.options, **options}), images=preset.images)


def at_default(method: str, options: Mapping[str, Any]) -> frozenset[str]:
    """Return the options that have the value the method gives them when they are not named, the others being as given.

    A default may follow from another option, as the number of drafts from the width.

    Args:
        method: Name of a search method; one without declared options has no defaults.
        options: All its options, as a `Strategy` tells them.
    """
    known = _method(method)
    if not isinstance(known, StrategySpec):
        return frozenset()

    def usual(name: str) -> Any:
        try:
            rest = {key: value for key, value in options.items() if key != name}
            return dict(known.configured(**rest).options).get(name)
        except MisuseError:  # it cannot be left out
            return None

    return frozenset(name for name, value in options.items() if value is not None and usual(name) == value)


def strategy_names() -> list[str]:
    """Return the names of all strategies: built-in methods, then other packages', then shipped strategy files."""
    methods = _method_names()
    return methods + [name for name in presets.shipped() if name not in methods]


def _method_names() -> list[str]:
    built_in = [known.name for known in BUILT_IN]
    return built_in + sorted({entry.name for entry in entry_points(group=GROUP)} - set(built_in))


def _method(name: str) -> Method | None:
    for known in BUILT_IN:
        if known.name == name:
            return known
    for entry in entry_points(group=GROUP, name=name):
        return _load(entry)
    return None


def _configured(method: Method, options: Mapping[str, Any]) -> Strategy:
    if isinstance(method, StrategySpec):
        try:
            return method.configured(**options)
        except MisuseError as error:
            foreign = [name for name in options if name not in method.options.model_fields and _takers(name)]
            told = [f"{name} belongs to {_listed(_takers(name))}; name one with --strategy" for name in foreign]
            raise MisuseError("\n".join([str(error), *told])) from error
    if options:
        raise MisuseError("\n".join(_refused(method, name) for name in options))
    return method


def _refused(method: Strategy, option: str) -> str:
    """Return the sentence that refuses an option of a strategy without options, naming those that take it."""
    sentence = with_hint(f"The strategy {method.name} takes no options, and got '{option}'", (option,))
    return f"{sentence}; it belongs to {_listed(_takers(option))}" if _takers(option) else sentence


def _takers(option: str) -> list[str]:
    """Return the names of the built-in strategies that have an option."""
    return [spec.name for spec in BUILT_IN if isinstance(spec, StrategySpec) and option in spec.options.model_fields]


def _listed(names: list[str]) -> str:
    """Return names as a list in a sentence."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _load(entry: EntryPoint) -> Method:
    origin = f"the strategy '{entry.name}' ({entry.value})"
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise MisuseError(
            f"{origin} cannot be loaded: {error}; reinstall or remove the package offering it."
        ) from error
    if not isinstance(found, Strategy | StrategySpec):
        raise MisuseError(
            f"{origin} is of type {type(found).__name__}; it must be a reflectionflow.runtime.Strategy, or a "
            "reflectionflow.search.StrategySpec."
        )
    return found
