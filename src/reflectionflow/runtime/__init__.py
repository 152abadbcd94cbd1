"""The tools a search calls, and what happens below them: batching, journal, budget ledger, retries, events."""

from reflectionflow.runtime.events import Event, event_json
from reflectionflow.runtime.task import Role, Search, SearchFunction, Strategy, Task

__all__ = ["Event", "Role", "Search", "SearchFunction", "Strategy", "Task", "event_json"]
