"""Search methods: one algorithm a file, one signature."""

from reflectionflow.search.options import SearchOptions, StrategySpec
from reflectionflow.search.registry import at_default, strategy, strategy_names

__all__ = ["SearchOptions", "StrategySpec", "at_default", "strategy", "strategy_names"]
