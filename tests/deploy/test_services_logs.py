"""What services write in their logs, and what never gets into them."""

import json
import logging
from collections.abc import Callable, Iterator

import pytest
import structlog

from penstock.deploy.services.logs import MASK, Redaction, bind, bound, configure_logs

CANARY = 'canary"with\\odd chars/ünd é'


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What has gone to stderr; logging is as it was afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield lambda: capsys.readouterr().err
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize("style", ["json", "pretty"])
def test_a_secret_is_masked_wherever_it_stands(style: str, written: Callable[[], str]) -> None:
    configure_logs([CANARY], style=style)
    log = structlog.get_logger("penstock.test")

    log.info("asked", given=CANARY, nested={"deep": [CANARY]}, text=f"as in {CANARY!r}")
    logging.getLogger("some.library").warning("it got %s", CANARY)
    try:
        int(CANARY)
    except ValueError:
        log.exception("failed")

    text = written()
    assert "canary" not in text
    assert text.count(MASK) >= 5


def test_the_password_of_any_url_is_masked() -> None:
    redaction = Redaction([])

    assert (
        redaction.masked("at amqp://user:pass@host:5672/v and http://host/a:b@c") == "at amqp://user:***@host:5672/v and http://host/a:b@c"
    )


def test_a_line_is_a_document_with_what_is_bound(written: Callable[[], str]) -> None:
    configure_logs([], style="json")
    bind(service="runner", name="runner-1")
    with bound(run="retrain-1", step="train/3", attempt=2):
        structlog.get_logger("penstock.test").warning("step.slow", seconds=3)
    structlog.get_logger("penstock.test").debug("never shown")

    [line] = [json.loads(text) for text in written().splitlines()]

    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "step.slow",
        "level": "warning",
        "logger": "penstock.test",
        "service": "runner",
        "name": "runner-1",
        "run": "retrain-1",
        "step": "train/3",
        "attempt": 2,
        "seconds": 3,
    }


def test_a_traceback_in_a_log_shows_no_variables(written: Callable[[], str]) -> None:
    configure_logs([], style="json")
    hidden = "value of a variable"
    try:
        int(hidden[:0])
    except ValueError:
        structlog.get_logger("penstock.test").exception("failed")

    text = written()
    assert "ValueError" in text
    assert hidden not in text
