"""`make up`: the whole set of services from Debian's packages, without Docker, in one folder; `make down` ends it.

python -m tools.up [--folder .penstock-up] [--port 8080] [--pool cpu=2 --pool gpu=1]
python -m tools.up down [--delete]
"""

import argparse
import contextlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tools.up.place import Addresses, Place, PlaceTaken, is_free
from tools.up.process import NotStarted, Process
from tools.up.servers import artifacts, broker, database
from tools.up.services import prepare, services

_PAUSE_SECONDS = 0.2
_AGAIN_SECONDS = 2.0
"""What ended is started again after that: as an orchestrator does, and slow enough to be read."""


class _Asked(Exception):
    """To stop, by Ctrl-C or `make down`."""


def main(arguments: list[str]) -> int:
    given = _parser().parse_args(arguments)
    place = Place(given.folder)
    try:
        if given.command == "down":
            return _down(place, is_deleted=given.delete)
        return _up(place, given.port, dict(given.pool or [("cpu", 2), ("gpu", 1)]))
    except (NotStarted, PlaceTaken) as error:
        sys.stderr.write(f"make {given.command}: {error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tools.up", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["up", "down"], nargs="?", default="up")
    parser.add_argument("--folder", type=Path, default=Path(".penstock-up"), help="where data, logs and secrets are")
    parser.add_argument("--port", type=int, default=8080, help="the API's port")
    parser.add_argument("--pool", type=_pool, action="append", metavar="NAME=SLOTS", help="a pool, with a runner of its own")
    parser.add_argument("--delete", action="store_true", help="with `down`: the folder too")
    return parser


def _pool(text: str) -> tuple[str, int]:
    name, _, slots = text.partition("=")
    return name, int(slots or 1)


def _up(place: Place, port: int, pools: Mapping[str, int]) -> int:
    with place.taken():
        _serve(place, port, pools)
    return 0


def _serve(place: Place, port: int, pools: Mapping[str, int]) -> None:
    if left := place.processes():
        raise PlaceTaken(f"processes of an earlier start are left ({left}); end them with: make down")
    if not is_free(port):
        raise NotStarted(f"somebody listens at port {port} already; name another one: make up ARGS='--port 8081'")
    place.logs.mkdir(exist_ok=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ask)
    started: list[Process] = []
    try:
        _start_all(place, place.addresses(port), pools, started)
        _keep(started)
    except _Asked:
        return
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _stop_all(place, started)


def _ask(number: int, frame: object) -> None:
    raise _Asked


def _start_all(place: Place, addresses: Addresses, pools: Mapping[str, int], started: list[Process]) -> None:
    _say("starting RabbitMQ, PostgreSQL and an S3 server ...")
    names, rabbitmq = broker(place, addresses)
    _start([names], started)
    _start([rabbitmq, database(place, addresses), artifacts(place, addresses)], started)
    _say("bringing the database and the broker up to date ...")
    prepare(place, addresses, pools)
    _say("starting coordinators, the API and runners ...")
    _start(services(place, addresses, pools), started)
    _greet(place, addresses, pools)


def _start(processes: list[Process], started: list[Process]) -> None:
    for process in processes:
        started.append(process)
        process.start()
    for process in processes:
        process.wait_ready()


def _greet(place: Place, addresses: Addresses, pools: Mapping[str, int]) -> None:
    url = f"http://127.0.0.1:{addresses.api}"
    here = {"PENSTOCK_ENGINE": "http", "PENSTOCK_API_URL": url, "PENSTOCK_API_TOKEN": addresses.api_token}
    script = place.folder / "environment"
    script.touch(mode=0o600)
    script.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in here.items()), encoding="utf-8")
    served = ", ".join(f"{pool} ({slots})" for pool, slots in pools.items())
    for line in (
        "",
        f"API         {url}",
        f"RabbitMQ    http://127.0.0.1:{addresses.management}   user penstock, password in {place.folder / 'addresses.json'}",
        f"PostgreSQL  127.0.0.1:{addresses.database}",
        f"S3          http://127.0.0.1:{addresses.artifacts}",
        f"pools       {served}",
        f"logs        {place.logs}",
        "",
        f"    . {_short(script)}",
        "    .venv/bin/penstock submit examples/retrain/pipeline.py -p raw=examples/retrain/drops/week-1.csv --follow",
        "",
        "Ctrl-C, or `make down` elsewhere, ends it all; data is kept.",
    ):
        _say(line)


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _keep(processes: list[Process]) -> None:
    """What ends by itself is started again, until somebody asks for the end."""
    while True:
        for process in processes:
            if process.ended is not None:
                _say(f"{process.name} ended with {process.ended} and is started again; its log: {process.log}")
                time.sleep(_AGAIN_SECONDS)
                process.start()
        time.sleep(_PAUSE_SECONDS)


def _stop_all(place: Place, started: list[Process]) -> None:
    _say("stopping ...")
    servers = [process for process in started if process.name in ("epmd", "rabbitmq", "postgres", "s3")]
    # What is begun is finished and reported as long as there is a broker; the broker's node is found by epmd until it is gone.
    for group in ([process for process in started if process not in servers], servers[1:], servers[:1]):
        for process in group:
            process.ask_to_stop()
        for process in group:
            process.wait_stopped()
    _kill_left(place)


def _kill_left(place: Place) -> None:
    while left := place.processes():
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(_PAUSE_SECONDS)


def _down(place: Place, *, is_deleted: bool) -> int:
    if not place.exists:
        _say(f"there is nothing in {place.folder}")
        return 0
    if (server := place.server()) is not None:
        os.kill(server, signal.SIGTERM)
        _wait(lambda: place.server() is None, f"process {server} ends")
    # Where the process that served it was killed.
    _kill_left(place)
    if is_deleted:
        place.delete()
    _say("everything has ended" + (f"; {place.folder} is deleted" if is_deleted else f"; data is kept in {place.folder}"))
    return 0


def _wait(condition: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NotStarted(f"waited {seconds:g} s in vain until {what}")
        time.sleep(_PAUSE_SECONDS)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
