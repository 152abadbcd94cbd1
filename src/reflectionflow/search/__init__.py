"""Search methods: one algorithm a file, one signature."""

from reflectionflow.search.registry import strategy, strategy_names

__all__ = ["strategy", "strategy_names"]
