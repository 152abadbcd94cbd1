"""Search methods: one algorithm a file, one signature."""

from reflectionflow.search.options import SearchOptions, StrategySpec
from reflectionflow.search.registry import strategy, strategy_names

__all__ = ["SearchOptions", "StrategySpec", "strategy", "strategy_names"]
