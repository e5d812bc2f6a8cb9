"""A secret that a step gives away in every way it can is found nowhere but in the step."""

import asyncio
import base64
import secrets
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from penstock.contracts.states import RunState
from penstock.sdk.pipelines import Pipeline
from penstock.transport.bus import Exchange
from penstock.transport.buses.rabbitmq import RabbitBus
from tests.end_to_end.user_project import until
from tests.servers.cluster import Cluster

LEAKING = """
    import base64
    import os
    import time
    from pathlib import Path
    from urllib.parse import quote

    from penstock.sdk import Secret, current_run, pipeline, step

    @step(pool="vault", cache=False, env_vars={"ONE": Secret("canary"), "OTHER": Secret("canary-file")})
    def leak(decoy: str, folder: str, fails: bool) -> int:
        run = current_run()
        for secret in (os.environ["ONE"], os.environ["OTHER"]):
            told = f"plain {secret} {decoy}"
            print(told, repr(secret), base64.b64encode(secret.encode()).decode(), base64.b64encode(f"user:{secret}".encode()).decode())
            print(quote(secret, safe=""), quote(secret, safe="").lower(), secret.encode().hex())
            print(secret[:5], end="", flush=True)
            time.sleep(0.05)
            print(secret[5:], flush=True)
            run.progress(1, 2, told)
            run.log_metric(told, 1.0)
            run.tag(note=told)
            run.emit("leaked", {"note": told, told: [told]})
        while not Path(folder, "go").exists():
            time.sleep(0.01)
        if fails:
            raise ValueError(told)
        return 1

    @pipeline
    def flow(decoy: str, folder: str, fails: bool) -> int:
        return leak(decoy, folder, fails)
"""


@contextmanager
def overheard(url: str) -> Generator[list[bytes]]:
    """All that goes through any exchange meanwhile."""
    heard: list[bytes] = []
    ready, done = threading.Event(), threading.Event()

    async def listen(bus: RabbitBus, exchange: Exchange, listening: asyncio.Semaphore) -> None:
        async with bus.listen(exchange) as listener:
            listening.release()
            async for body in listener:
                heard.append(body)  # noqa: PERF401 - it goes on for ever

    async def main() -> None:
        async with RabbitBus(url, name="eavesdropper") as bus:
            listening = asyncio.Semaphore(0)
            tasks = [asyncio.create_task(listen(bus, exchange, listening)) for exchange in Exchange]
            for _ in tasks:
                await listening.acquire()
            ready.set()
            await asyncio.to_thread(done.wait)
            for task in tasks:
                task.cancel()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    try:
        assert ready.wait(30)
        yield heard
    finally:
        done.set()
        thread.join(30)


def spelled(secret: str) -> list[bytes]:
    """As it must not be found, also in a column of bytes that was printed."""
    plain = [
        secret,
        repr(secret)[1:-1],
        quote(secret, safe=""),
        quote(secret, safe="").lower(),
        secret.encode().hex(),
        base64.b64encode(secret.encode()).decode().rstrip("=")[:-1],
        base64.b64encode(f"user:{secret}".encode()).decode().rstrip("=")[8:-1],
    ]
    return [text.encode() for text in plain] + [text.encode().hex().encode() for text in plain]


def places(cluster: Cluster, heard: list[bytes], folders: list[Path]) -> dict[str, bytes]:
    """Everything that Penstock keeps or says, by where."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    tables = cluster.client.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    rows = [row for (table,) in tables for row in cluster.client.rows(f'SELECT t::text FROM "{table}" t')]  # noqa: S608 - of our own tables
    servers = {**cluster.services, **cluster.servers}
    return {
        "bus": b"\n".join(heard),
        "store": "\n".join(str(row[0]) for row in rows).encode(),
        "files": b"\n".join(path.read_bytes() for path in files),
        "logs": "\n".join(server.log_text() for server in servers.values()).encode(errors="replace"),
        "metrics": "\n".join(service.page("/metrics")[1] for service in cluster.services.values()).encode(),
    }


def leak(cluster: Cluster, pipeline: Pipeline[..., Any], decoy: str, folder: Path, *, fails: bool) -> RunState:
    """How a run ended whose output and progress were seen while it ran."""
    (folder / "go").unlink(missing_ok=True)
    run = cluster.submit(pipeline, decoy=decoy, folder=str(folder), fails=fails)

    def is_seen() -> bool:
        attempts = [attempt for view in cluster.engine.step_runs(run.run_id, "leak") for attempt in view.attempts]
        texts = [Path(attempt.log_path).read_text() for attempt in attempts if attempt.log_path]
        return any(text.count("plain ***") == 2 for text in texts) and cluster.engine.run(run.run_id).steps[0].progress is not None

    until(is_seen)
    (folder / "go").touch()
    return run.wait().state


def test_no_secret_is_found_anywhere(cluster: Cluster, written: Callable[[str], Pipeline[..., Any]], tmp_path: Path) -> None:
    canaries = [f"c4n/{secrets.token_hex(8)}+'é&", f"f1l/{secrets.token_hex(8)}+'é&"]
    decoy = f"decoy-{secrets.token_hex(8)}"
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "canary-file").write_text(f"{canaries[1]}\n")
    cluster.command("topology", "apply", "--pool", "vault")
    variables = {"PENSTOCK_SECRET_CANARY": canaries[0], "PENSTOCK_SECRETS_FOLDER": str(tmp_path / "secrets")}
    runner = cluster.add_runner({"vault": 1}, PENSTOCK_CACHE_FOLDER=str(tmp_path / "host"), **variables)
    try:
        cluster.wait_ready()
        with overheard(cluster.settings["PENSTOCK_BROKER_URL"]) as heard:
            leaking = written(LEAKING)
            assert leak(cluster, leaking, decoy, tmp_path, fails=False) is RunState.SUCCEEDED
            assert leak(cluster, leaking, decoy, tmp_path, fails=True) is RunState.FAILED
        found = places(cluster, heard, [tmp_path / "host", cluster.folder, cluster.servers["s3"].folder / "data"])
    finally:
        runner.close()
        del cluster.services[runner.name]

    for where, data in found.items():
        if where in ("bus", "store", "files"):
            assert decoy.encode() in data or decoy.encode().hex().encode() in data, f"the search of {where} would find nothing"
        for secret in canaries:
            for needle in spelled(secret):
                assert needle not in data, f"{needle!r} is in {where}: {data[max(0, data.index(needle) - 200) :][:300]!r}"
