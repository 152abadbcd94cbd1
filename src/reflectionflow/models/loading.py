"""Running diffusers and transformers without their messages and progress bars on the user's terminal."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module


@contextmanager
def quiet(*libraries: str) -> Iterator[None]:
    """Silence libraries below errors, their bars and Python's warnings inside the block; restore all afterwards.

    What a warning would say must be checked by the caller: `from_pretrained` warns of weights that are missing and
    leaves them random.

    Args:
        libraries: Names such as `transformers` and `diffusers`, whose `utils.logging` modules have one interface.
    """
    loggers = [import_module(f"{library}.utils.logging") for library in libraries]
    before = [(logger.get_verbosity(), logger.is_progress_bar_enabled()) for logger in loggers]
    for logger in loggers:
        logger.set_verbosity_error()
        logger.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, (verbosity, bars) in zip(loggers, before, strict=True):
            logger.set_verbosity(verbosity)
            if bars:
                logger.enable_progress_bar()
