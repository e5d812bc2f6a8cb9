"""A private RabbitMQ node: a name, cookie, epmd, folder and ports of its own, and what a test does to it."""

import secrets
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

import httpx
from typing_extensions import override

from tests.servers.process import Server, accepts, free_port, wait_until

_STARTED = "Server startup complete"
_RELATIVE_MEMORY = 0.6


class RabbitFailed(Exception):
    """A command to the broker failed; the text is what it said."""


@dataclass(frozen=True, slots=True)
class RabbitUser:
    name: str
    password: str


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """A virtual host of a test's own, with its user."""

    name: str
    user: RabbitUser
    url: str
    management_url: str


class RabbitServer(Server):
    """RabbitMQ as installed. One scheduler: a test shares two cores with others.

    :param configuration: lines of rabbitmq.conf, as `{"consumer_timeout": "60000"}`
    """

    program = "RabbitMQ: apt-get install rabbitmq-server"

    def __init__(self, configuration: dict[str, str] | None = None, *, schedulers: int = 1) -> None:
        super().__init__("rabbitmq")
        self.node = f"penstock-{secrets.token_hex(4)}@localhost"
        self.admin = RabbitUser("admin", secrets.token_hex(8))
        self.port, self.management_port = free_port(), free_port()
        self._epmd_port, self._distribution_port, self._control_port = free_port(), free_port(), free_port()
        self._schedulers = schedulers
        self._epmd: subprocess.Popen[bytes] | None = None
        self._log_offset = 0
        self._memory_alarm = self._disk_alarm = False
        self._write_files(configuration or {})
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.management_port}/api/",
            auth=(self.admin.name, self.admin.password),
            timeout=30,
            trust_env=False,
        )

    def url(self, vhost: str = "/", user: RabbitUser | None = None) -> str:
        user = user or self.admin
        return f"amqp://{user.name}:{user.password}@127.0.0.1:{self.port}/{quote(vhost, safe='')}"

    def management_url(self, user: RabbitUser | None = None) -> str:
        user = user or self.admin
        return f"http://{user.name}:{user.password}@127.0.0.1:{self.management_port}"

    @override
    def command(self) -> list[str]:
        return ["/usr/lib/rabbitmq/bin/rabbitmq-server"]

    def control(self) -> list[str]:
        """How `rabbitmqctl` is called."""
        return ["/usr/lib/rabbitmq/bin/rabbitmqctl"]

    @override
    def environment(self) -> dict[str, str]:
        folder = self.folder
        return super().environment() | {
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_CTL_DIST_PORT_MIN": str(self._control_port),
            "RABBITMQ_CTL_DIST_PORT_MAX": str(self._control_port + 10),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_LOGS": str(self.log),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"+S {self._schedulers}:{self._schedulers} +SDcpu 1:1 +SDio 2 +A 1"
            " -kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CTL_ERL_ARGS": "+S 1:1 +A 1",
            "RUNNING_UNDER_SYSTEMD": "true",  # the script then becomes the broker instead of its parent
        }

    @override
    def launch(self) -> None:
        if self._epmd is None:
            self._epmd = self.spawn(["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"])
            wait_until(lambda: accepts(self._epmd_port), seconds=10, what="epmd serves")
        self._log_offset = len(self.log_text())
        self._memory_alarm = self._disk_alarm = False  # a fresh start reads the limits from its configuration
        super().launch()

    @override
    def is_ready(self) -> bool:
        return _STARTED in self.log_text()[self._log_offset :]

    @override
    def close(self) -> None:
        self.http.close()
        super().close()
        if self._epmd is not None:
            self._epmd.wait(10)

    def recover(self) -> None:
        """Starts it again if a test ended it, and clears the alarms that a test has set."""
        if not self.is_running:
            self.start()
        if self._memory_alarm:
            self.clear_memory_alarm()
        if self._disk_alarm:
            self.clear_disk_alarm()

    def rabbitmqctl(self, *arguments: str) -> str:
        """Costs a second of CPU: what the management API can do is cheaper by it.

        :raises RabbitFailed: with what it printed.
        """
        command = [*self.control(), "--node", self.node, "--quiet", *arguments]
        done = subprocess.run(command, env=self.environment(), cwd=self.folder, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise RabbitFailed(f"rabbitmqctl {' '.join(arguments)}: {done.stderr}{done.stdout}")
        return done.stdout

    def stop_app(self) -> None:
        """The broker goes, its Erlang machine stays."""
        self.rabbitmqctl("stop_app")

    def start_app(self) -> None:
        self.rabbitmqctl("start_app")

    def add_user(
        self, name: str | None = None, *, tags: str = "", vhost: str = "/", permissions: tuple[str, str, str] | None = None
    ) -> RabbitUser:
        """A user with these permissions (configure, write, read) in that virtual host; all of them by default."""
        user = RabbitUser(name or f"user-{secrets.token_hex(4)}", secrets.token_hex(8))
        self.api("PUT", f"users/{quote(user.name, safe='')}", {"password": user.password, "tags": tags})
        configure, write, read = permissions or (".*", ".*", ".*")
        path = f"permissions/{quote(vhost, safe='')}/{quote(user.name, safe='')}"
        self.api("PUT", path, {"configure": configure, "write": write, "read": read})
        return user

    def add_vhost(self, name: str | None = None) -> VirtualHost:
        """A fresh virtual host and a user who may do everything in it, policies included."""
        name = name or f"test-{secrets.token_hex(6)}"
        self.api("PUT", f"vhosts/{quote(name, safe='')}")
        user = self.add_user(tags="policymaker", vhost=name)
        path = f"permissions/{quote(name, safe='')}/{quote(self.admin.name, safe='')}"
        self.api("PUT", path, {"configure": ".*", "write": ".*", "read": ".*"})
        return VirtualHost(name, user, self.url(name, user), self.management_url(user))

    def delete_vhost(self, vhost: VirtualHost) -> None:
        self.api("DELETE", f"vhosts/{quote(vhost.name, safe='')}")
        self.api("DELETE", f"users/{quote(vhost.user.name, safe='')}")

    @contextmanager
    def virtual_host(self) -> Generator[VirtualHost]:
        """A fresh one that is deleted at the end, also if the broker was killed meanwhile."""
        vhost = self.add_vhost()
        yield vhost
        self.recover()
        self.delete_vhost(vhost)

    def close_all_connections(self, reason: str = "closed by a test", *, vhost: str | None = None) -> None:
        """Every one that is open, also those that the management API does not list yet."""
        scope = ["--vhost", vhost] if vhost is not None else ["--global"]
        self.rabbitmqctl("close_all_connections", *scope, reason)

    def set_memory_alarm(self) -> None:
        """Publishers are stopped until it is cleared."""
        self._memory_alarm = True
        self.rabbitmqctl("set_vm_memory_high_watermark", "0")

    def clear_memory_alarm(self) -> None:
        self.rabbitmqctl("set_vm_memory_high_watermark", str(_RELATIVE_MEMORY))
        self._memory_alarm = False

    def set_disk_alarm(self) -> None:
        self._disk_alarm = True
        self.rabbitmqctl("set_disk_free_limit", "900000GB")

    def clear_disk_alarm(self) -> None:
        self.rabbitmqctl("set_disk_free_limit", "1MB")
        self._disk_alarm = False

    def api(self, method: str, path: str, body: object | None = None) -> httpx.Response:
        """A call of the management API as the administrator.

        :raises RabbitFailed: with the answer, unless it is a success.
        """
        answer = self.http.request(method, path, json=body)
        if not answer.is_success:
            raise RabbitFailed(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer

    def _write_files(self, configuration: dict[str, str]) -> None:
        settings = {
            "listeners.tcp.1": f"127.0.0.1:{self.port}",
            "num_acceptors.tcp": "2",
            "management.tcp.ip": "127.0.0.1",
            "management.tcp.port": str(self.management_port),
            "default_user": self.admin.name,
            "default_pass": self.admin.password,
            "default_user_tags.administrator": "true",
            "loopback_users": "none",
            "vm_memory_high_watermark.relative": str(_RELATIVE_MEMORY),
            "disk_free_limit.absolute": "1MB",
            "raft.wal_max_size_bytes": "33554432",
            "log.file.level": "info",
        }
        lines = [f"{name} = {value}\n" for name, value in (settings | configuration).items()]
        (self.folder / "rabbitmq.conf").write_text("".join(lines))
        (self.folder / "advanced.config").write_text("[].\n")
        (self.folder / "enabled_plugins").write_text("[rabbitmq_management].\n")
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
