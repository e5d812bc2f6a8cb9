"""`penstock subscriptions`: who hears of what happens to runs and steps."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError

from penstock.contracts.errors import InvalidInput
from penstock.contracts.subscriptions import CreatedSubscription, DeliveryView, SubscriptionRequest, SubscriptionView
from penstock.deploy.areas.subscriptions import Subscriptions
from penstock.deploy.cli.progress import aligned
from penstock.deploy.cli.wiring import api

_HELP = """Subscriptions: who hears of what happens to runs and steps, as CloudEvents.

Nothing goes out unless somebody registered for it: by webhook, or on the exchange penstock.events of the broker.

Examples:

    penstock subscriptions create alerts --url https://example.org/hook --type penstock.run.failed

    penstock subscriptions create lake --bus --type 'penstock.*' --pipeline retrain

    penstock subscriptions test alerts        send an event that tells of nothing

    penstock subscriptions deliveries alerts --state dead

    penstock subscriptions retry alerts       try all again that were given up

Types: penstock.run.started, .succeeded, .failed, .cancelled; penstock.step.succeeded, .failed, .skipped; and whatever your steps emit.
A `*` at the end stands for anything. Whether a run tells of its steps is settled when it begins.
"""
app = typer.Typer(help=_HELP, no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="SUBSCRIPTION")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one document a line.")]
SecretFile = Annotated[
    Path | None, typer.Option("--secret-file", help="Write the secret there, for your eyes only, instead of printing it.")
]
State = Literal["owed", "delivered", "dead"]


@app.command(name="ls", help="All subscriptions, and how much each is owed.")
def list_subscriptions(context: typer.Context, as_json: AsJson = False) -> None:
    with api(context) as connection:
        found = Subscriptions(connection).list()
    if as_json:
        for one in found:
            typer.echo(one.model_dump_json())
        return
    if not found:
        typer.echo("nobody hears of anything; register with: penstock subscriptions create NAME --url URL")
        return
    table = [("subscription", "to", "types", "pipeline", "state", "owed", "dead")]
    table += [(s.name, s.url or "the bus", ", ".join(s.types), s.pipeline or "any", _state(s), str(s.owed), str(s.dead)) for s in found]
    typer.echo("\n".join(aligned(table)))


@app.command(help="Register for events. A webhook's secret is printed once; deliveries are signed with it.")
def create(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    name: Name,
    url: Annotated[str | None, typer.Option("--url", help="Where a webhook posts to, by https.")] = None,
    bus: Annotated[bool, typer.Option("--bus", help="Publish to the exchange penstock.events of the broker.")] = False,
    kind: Annotated[list[str] | None, typer.Option("--type", metavar="TYPE", help="May be repeated; penstock.run.* if left out.")] = None,
    pipeline: Annotated[str | None, typer.Option("--pipeline", help="Of this pipeline alone.")] = None,
    rate: Annotated[int | None, typer.Option("--rate", min=1, max=1000, help="So many deliveries a second at most.")] = None,
    secret_file: SecretFile = None,
    as_json: AsJson = False,
) -> None:
    if bus == (url is not None):
        raise InvalidInput("say where events go: --url URL for a webhook, or --bus for the broker's exchange penstock.events")
    if bus and secret_file is not None:
        raise InvalidInput("nothing is signed on the bus, so there is no secret: leave --secret-file out")
    given = {"name": name, "kind": "bus" if bus else "webhook", "url": url, "pipeline": pipeline, "rate_per_second": rate}
    try:
        request = SubscriptionRequest.model_validate({**given, **({"types": kind} if kind else {})})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise InvalidInput(f"{'.'.join(map(str, first['loc'])) or name}: {first['msg'].removeprefix('Value error, ')}") from error
    with _kept(secret_file) as keep, api(context) as connection:
        made = keep(Subscriptions(connection).create(request))
    if as_json:
        typer.echo(made.model_dump_json())
        return
    typer.echo(f"{made.name} hears of {', '.join(made.types)} from now on")
    if made.kind == "bus":
        typer.echo("bind a queue of yours to the exchange penstock.events: run.succeeded.#, step.failed.*.*, event.#")
    elif made.secret is not None:
        _show_secret(made)


@app.command(help="Hear no more; what is owed goes nowhere.")
def rm(context: typer.Context, name: Name) -> None:
    with api(context) as connection:
        Subscriptions(connection).remove(name)
    typer.echo(f"{name} hears of nothing any more")


@app.command(help="Keep what happens, and deliver nothing until it is resumed.")
def pause(context: typer.Context, name: Name) -> None:
    with api(context) as connection:
        Subscriptions(connection).pause(name)
    typer.echo(f"{name} is paused; go on with: penstock subscriptions resume {name}")


@app.command(help="Deliver again, beginning with what was kept.")
def resume(context: typer.Context, name: Name) -> None:
    with api(context) as connection:
        found = Subscriptions(connection).resume(name)
    typer.echo(f"{name} is on, {found.owed} owed" + (f", {found.dead} dead: penstock subscriptions retry {name}" if found.dead else ""))


@app.command(help="Make another secret. Deliveries are signed with both for a day.")
def rotate(context: typer.Context, name: Name, secret_file: SecretFile = None, as_json: AsJson = False) -> None:
    with _kept(secret_file) as keep, api(context) as connection:
        made = keep(Subscriptions(connection).rotate(name))
    if as_json:
        typer.echo(made.model_dump_json())
    elif made.secret is not None:
        _show_secret(made)
    else:
        typer.echo(f"{name} has another secret")


@app.command(help="Send an event that tells of nothing, to see whether it arrives.")
def test(context: typer.Context, name: Name) -> None:
    with api(context) as connection:
        Subscriptions(connection).test(name)
    typer.echo(f"it is on its way: penstock subscriptions deliveries {name}")


@app.command(help="Deliveries to a webhook, newest first, and what became of them.")
def deliveries(
    context: typer.Context,
    name: Name,
    state: Annotated[State | None, typer.Option("--state", help="Only those that are so.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="So many at most.")] = 30,
    as_json: AsJson = False,
) -> None:
    with api(context) as connection:
        found = list(islice(Subscriptions(connection).deliveries(name, state), limit))
    if as_json:
        for one in found:
            typer.echo(one.model_dump_json())
        return
    if not found:
        typer.echo(f"nothing was delivered, nothing is owed to {name}" if state is None else f"no delivery to {name} is {state}")
        return
    table = [("delivery", "event", "since", "state", "tries", "answer")]
    table += [
        (str(one.delivery_no), one.type, _time(one.made_at), _progress(one), str(one.tries), one.error or str(one.status or ""))
        for one in found
    ]
    typer.echo("\n".join(aligned(table)))


@app.command(help="Try a delivery again at once, by its number; without one, all that were given up.")
def retry(context: typer.Context, name: Name, delivery: Annotated[int | None, typer.Argument(metavar="[DELIVERY]", min=1)] = None) -> None:
    with api(context) as connection:
        count = Subscriptions(connection).retry(name, delivery)
    typer.echo(f"{count} {'delivery is' if count == 1 else 'deliveries are'} tried again")


Keep = Callable[[CreatedSubscription], CreatedSubscription]
"""What is left to be shown."""


@contextmanager
def _kept(path: Path | None) -> Generator[Keep]:
    """The file is made first: a secret that is shown once must not get lost because it can't be written.

    :raises InvalidInput: there is such a file, or it can't be made.
    """
    if path is None:
        yield lambda made: made
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInput(f"the secret can't be written to {path}: {error.strerror}; name a new file") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:

        def keep(made: CreatedSubscription) -> CreatedSubscription:
            file.write(f"{made.secret or ''}\n")
            return made.model_copy(update={"secret": None})

        try:
            yield keep
        except BaseException:
            path.unlink()
            raise


def _show_secret(made: CreatedSubscription) -> None:
    typer.echo(f"its deliveries are signed with this secret, which is not shown again:\n{made.secret}")


def _state(view: SubscriptionView) -> str:
    return view.state if view.error is None else f"{view.state}: {view.error}"


def _progress(view: DeliveryView) -> str:
    return f"next try {_time(view.due_at)}" if view.state == "owed" and view.tries else view.state


def _time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
