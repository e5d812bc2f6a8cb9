"""What `make up` takes from Debian's packages: RabbitMQ, PostgreSQL, and rclone as the S3 server, each in a folder of its own."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tools.up.place import MARKER, Addresses, Place
from tools.up.process import NotStarted, Process, accepts

PACKAGES = "apt-get install rabbitmq-server postgresql"
BUCKET = "penstock"
_RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_POSTGRES = (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/local/bin"), Path("/usr/bin"))
_POSTGRES_USER = "postgres"


def variables(place: Place) -> dict[str, str]:
    """Nothing of the developer's own gets in, except where programs are found."""
    return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(place.folder), MARKER: str(place.folder)}


# RabbitMQ


def broker(place: Place, addresses: Addresses) -> list[Process]:
    """RabbitMQ, and the service by which its node is found."""
    if not _RABBITMQ.exists() or shutil.which("epmd") is None:
        raise NotStarted(f"RabbitMQ is not installed: {PACKAGES}")
    folder = place.folder / "rabbitmq"
    folder.mkdir(exist_ok=True, mode=0o700)
    _write_rabbitmq_files(folder, addresses)
    names = ["epmd", "-port", str(addresses.broker_names), "-address", "127.0.0.1"]
    return [
        Process(
            name="epmd", command=names, environment=variables(place), folder=folder, log=place.logs / "epmd.log",
            is_ready=accepts(addresses.broker_names),
        ),
        Process(
            name="rabbitmq", command=[str(_RABBITMQ)], environment=_rabbitmq_variables(place, folder, addresses), folder=folder,
            log=place.logs / "rabbitmq.log", is_ready=accepts(addresses.broker), stop_seconds=60.0,
        ),
    ]  # fmt: skip


def _rabbitmq_variables(place: Place, folder: Path, addresses: Addresses) -> dict[str, str]:
    return variables(place) | {
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(addresses.broker_names),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        # Not the host's name: data stays readable when that changes.
        "RABBITMQ_NODENAME": f"penstock-up-{addresses.broker}@localhost",
        "RABBITMQ_DIST_PORT": str(addresses.broker_nodes),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(place.logs),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RUNNING_UNDER_SYSTEMD": "true",  # the script then becomes the broker instead of its parent
    }


def _write_rabbitmq_files(folder: Path, addresses: Addresses) -> None:
    settings = {
        "listeners.tcp.1": f"127.0.0.1:{addresses.broker}",
        "management.tcp.ip": "127.0.0.1",
        "management.tcp.port": addresses.management,
        "default_vhost": "penstock",
        "default_user": "penstock",
        "default_pass": addresses.broker_password,
        "default_user_tags.administrator": "true",
        "loopback_users": "none",
        "disk_free_limit.absolute": "50MB",
    }
    _write(folder / "rabbitmq.conf", "".join(f"{name} = {value}\n" for name, value in settings.items()))
    _write(folder / "advanced.config", "[].\n")
    _write(folder / "enabled_plugins", "[rabbitmq_management].\n")
    if not (folder / ".erlang.cookie").exists():
        _write(folder / ".erlang.cookie", secrets.token_hex(16), mode=0o400)


def _write(path: Path, text: str, mode: int = 0o600) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


# PostgreSQL


def database(place: Place, addresses: Addresses) -> Process:
    programs = next((folder for folder in _POSTGRES if (folder / "initdb").exists()), None)
    if programs is None:
        raise NotStarted(f"PostgreSQL's server is not installed: {PACKAGES}")
    folder = place.folder / "postgres"
    if not (folder / "data" / "PG_VERSION").exists():
        _make_cluster(place, folder, programs, addresses)
    options = [f"--port={addresses.database}", "--listen_addresses=127.0.0.1", f"--unix_socket_directories={folder}"]
    ready = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(addresses.database)]
    return Process(
        name="postgres",
        command=[*_as_postgres(), str(programs / "postgres"), "-D", str(folder / "data"), *options],
        environment=variables(place),
        folder=folder,
        log=place.logs / "postgres.log",
        is_ready=lambda: subprocess.run(ready, check=False).returncode == 0,
        stop_signal=signal.SIGINT,  # sessions are cut instead of waited for
    )


def _make_cluster(place: Place, folder: Path, programs: Path, addresses: Addresses) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    secret = folder / "password"
    _write(secret, addresses.database_password)
    if os.geteuid() == 0:
        for path in (folder, secret):
            shutil.chown(path, _POSTGRES_USER, _POSTGRES_USER)
    command = [str(programs / "initdb"), "-D", str(folder / "data"), "-U", "penstock", f"--pwfile={secret}", "--auth=scram-sha-256"]
    made = subprocess.run(
        [*_as_postgres(), *command, "--encoding=UTF8", "--no-locale"],
        cwd="/", env=variables(place), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        hint = f"\nThe user {_POSTGRES_USER} must be able to reach {folder}; name another folder by --folder" if os.geteuid() == 0 else ""
        raise NotStarted(f"PostgreSQL's data can't be made in {folder}: {made.stderr.strip()}{hint}")


def _as_postgres() -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    owner = pwd.getpwnam(_POSTGRES_USER)
    return ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]


# S3


def artifacts(place: Place, addresses: Addresses) -> Process:
    program = Path(sys.executable).with_name("rclone")
    if not program.exists():
        raise NotStarted("rclone is not installed: make setup")
    folder = place.folder / "s3"
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    # A list of one pair, as CSV.
    key = f'"{addresses.artifacts_key},{addresses.artifacts_secret}"'
    return Process(
        name="s3",
        # By a variable, since everyone sees a command line.
        command=[str(program), "serve", "s3", "--addr", f"127.0.0.1:{addresses.artifacts}", "--config", "", str(folder)],
        environment=variables(place) | {"RCLONE_AUTH_KEY": key},
        folder=folder,
        log=place.logs / "s3.log",
        is_ready=accepts(addresses.artifacts),
    )
