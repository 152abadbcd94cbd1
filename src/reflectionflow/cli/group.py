"""The outermost group: turns errors into one message and an exit code, and prints the version."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from reflectionflow.errors import ReflectionFlowError

INTERRUPTED = 130
KEEPING = (["generate"], ["evaluate"], ["paper"], ["tune"], ["genref", "build"], ["geneval", "score"])
"""The verbs that go on where they were interrupted, with their groups."""
KEPT = " Whatever was finished is kept; the same command continues there."


class Commands(TyperGroup):
    """The verbs, with one place that decides how each kind of ending looks.

    A `ReflectionFlowError` is one message without a traceback, and its own exit code; Ctrl-C is 130. Anything else is
    a fault of this program: it keeps its traceback.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen verb."""
        words = [*ctx._protected_args, *ctx.args]
        kept = KEPT if words[:1] in KEEPING or words[:2] in KEEPING else ""
        try:
            return super().invoke(ctx)
        except ReflectionFlowError as error:
            tell(f"Error: {error}")
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            tell(f"\nInterrupted.{kept}")
            raise typer.Exit(INTERRUPTED) from error
        except (typer.Exit, typer.Abort, BrokenPipeError):  # the last: the reader of a pipe has seen enough
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:
                tell(f"Error: the output cannot be written ({error.strerror}); free some space.{kept}")
                _drop_output()
                raise typer.Exit(1) from error
            if not _is_usage(error):
                tell(f"This is a fault of reflectionflow or of a plug-in; the traceback below says where.{kept}\n")
            raise


def _drop_output() -> None:
    """Let what is still to be written to a full stdout go nowhere: Python would try again at its end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(message: str) -> None:
    """Write one message for people to stderr."""
    typer.echo(message, err=True)


def _is_usage(error: Exception) -> bool:
    """Return whether the command-line library will show this error itself, as wrong usage."""
    return hasattr(error, "show") and hasattr(error, "exit_code")
