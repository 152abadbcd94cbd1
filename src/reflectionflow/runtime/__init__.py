"""The tools a search calls, and what happens below them: batching, journal, budget ledger, retries, events."""

from reflectionflow.roles import Role
from reflectionflow.runtime.checks import check_task, missing_role, prompt_problems, size_problems
from reflectionflow.runtime.events import Event, event_json
from reflectionflow.runtime.faults import Patience
from reflectionflow.runtime.ledger import BudgetExhausted
from reflectionflow.runtime.runner import drain_searches, run_searches, run_searches_async
from reflectionflow.runtime.task import Place, Search, SearchFunction, Strategy, Task
from reflectionflow.runtime.tools import Tools

__all__ = [
    "BudgetExhausted",
    "Event",
    "Patience",
    "Place",
    "Role",
    "Search",
    "SearchFunction",
    "Strategy",
    "Task",
    "Tools",
    "check_task",
    "drain_searches",
    "event_json",
    "missing_role",
    "prompt_problems",
    "run_searches",
    "run_searches_async",
    "size_problems",
]
