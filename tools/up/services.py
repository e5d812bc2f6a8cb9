"""Penstock's own processes of `make up`: coordinators, the API and runners, and what is done once before they start."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.up.place import Addresses, Place
from tools.up.process import NotStarted, Process, says_ready
from tools.up.servers import BUCKET, variables

COORDINATORS = 2
PROGRAM = str(Path(sys.executable).with_name("penstock"))


def settings(place: Place, addresses: Addresses) -> dict[str, str]:
    """The variables of every service."""
    secret, host = addresses.broker_password, "127.0.0.1"
    return variables(place) | {
        "PENSTOCK_BROKER_URL": f"amqp://penstock:{secret}@{host}:{addresses.broker}/penstock",
        "PENSTOCK_BROKER_MANAGEMENT_URL": f"http://penstock:{secret}@{host}:{addresses.management}",
        "PENSTOCK_DATABASE_URL": f"postgresql://penstock:{addresses.database_password}@{host}:{addresses.database}/postgres",
        "PENSTOCK_ARTIFACTS_URL": f"s3://{BUCKET}/artifacts",
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{addresses.artifacts}",
        "AWS_ACCESS_KEY_ID": addresses.artifacts_key,
        "AWS_SECRET_ACCESS_KEY": addresses.artifacts_secret,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "PENSTOCK_SIGNING_KEY": addresses.signing_key,
        "PENSTOCK_API_TOKEN": addresses.api_token,
        "PENSTOCK_CACHE_FOLDER": str(place.folder / "cache"),
        "PENSTOCK_DRAIN_SECONDS": "10",
    }


def prepare(place: Place, addresses: Addresses, pools: Mapping[str, int]) -> None:
    """The schema, and the broker's exchanges, queues and policies. Harmless where they are there.

    :raises NotStarted: with what the command said.
    """
    named = [part for pool in pools for part in ("--pool", pool)]
    for arguments in (["db", "upgrade"], ["topology", "apply", *named]):
        done = subprocess.run(
            [PROGRAM, *arguments],
            cwd=place.folder,
            env=settings(place, addresses),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if done.returncode:
            raise NotStarted(f"penstock {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}{done.stdout}")


def services(place: Place, addresses: Addresses, pools: Mapping[str, int]) -> list[Process]:
    """Coordinators, the API, and one runner for each pool."""
    commands = {f"coordinator-{number}": ["coordinator"] for number in range(1, COORDINATORS + 1)}
    commands["api"] = ["api", "--port", str(addresses.api)]
    commands |= {f"runner-{pool}": ["runner", "--pool", f"{pool}={slots}"] for pool, slots in pools.items()}
    base = settings(place, addresses)
    return [
        Process(
            name=name,
            command=[PROGRAM, *command],
            environment=base | {"PENSTOCK_NAME": name, "PENSTOCK_HEALTH_ADDRESS": f"127.0.0.1:{port}"},
            folder=place.folder,
            log=place.logs / f"{name}.log",
            is_ready=says_ready(port),
            stop_seconds=20.0,
        )
        for port, (name, command) in enumerate(commands.items(), addresses.health)
    ]
