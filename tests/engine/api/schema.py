"""Holds the API against its own document: `python -m tests.engine.api.schema` has schemathesis try tens of thousands of requests."""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from tests.deploy.processes import started
from tests.servers.process import free_port

TOKEN = "a-token-of-schemathesis-test"
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
READY_SECONDS = 60.0


def checked(folder: Path, phases: Sequence[str], examples: int, seed: int = 1) -> "subprocess.CompletedProcess[str]":
    """What schemathesis says of `penstock dev` in an empty folder; it ends with 0 where every answer is as documented."""
    port = free_port()
    (folder / "home" / "dev").mkdir(parents=True, mode=0o700)
    (folder / "home" / "dev" / "api-token").write_text(TOKEN)
    with started(folder, "dev", "--port", str(port)) as dev:
        try:
            url = f"http://127.0.0.1:{port}/v1/openapi.json"
            _await(url)
            command = ["--config-file", str(CONFIGURATION), "run", url, "-H", f"Authorization: Bearer {TOKEN}", "--seed", str(seed)]
            command += ["--phases", ",".join(phases), "--max-examples", str(examples), "--request-timeout", "20", "--no-color"]
            program = str(Path(sys.executable).with_name("schemathesis"))
            return subprocess.run([program, *command], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        finally:
            dev.kill()


def _await(url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            httpx.get(url, headers={"Authorization": f"Bearer {TOKEN}"}).raise_for_status()
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.engine.api.schema", description=__doc__)
    parser.add_argument("--examples", type=int, default=8, help="of each operation, made at random")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="penstock-schema-") as folder:
        done = checked(Path(folder), ("examples", "coverage", "fuzzing"), asked.examples, asked.seed)
    sys.stdout.write(done.stdout)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
