"""Where the engine's log goes in a process of the user's: warnings and errors to stderr, one line each, tracebacks without variables."""

import logging
import sys

import structlog


def _to_stderr(*_names: object) -> structlog.PrintLogger:
    # Looked up each time: notebooks and test runners exchange it.
    return structlog.PrintLogger(sys.stderr)


def log_to_stderr() -> None:
    """Leaves everything as it is where the user has configured structlog."""
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=_to_stderr,
    )
