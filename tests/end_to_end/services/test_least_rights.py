"""Services whose users of the broker may do no more than they must, and a token that is no admin's: a run goes through all of them."""

from pathlib import Path

from penstock.contracts.access import Role
from penstock.deploy.areas.access import Access
from penstock.deploy.remote.client import HttpClient
from penstock.deploy.remote.connection import Connection
from penstock.sdk import pipeline, step
from penstock.sdk.runs.state_home import using_engine
from tests.faults.invariants import virtual_host
from tests.servers.cluster import Cluster
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer

USERS = {"coordinator": (), "api": (), "runner": ("--workspace", "default")}


@step
def told(text: str) -> str:
    print(f"told {text}", flush=True)  # noqa: T201 - its log goes by the broker too
    return text * 3000


@pipeline
def tell(text: str) -> str:
    return told(text)


def test_a_run_goes_through_services_of_least_rights(tmp_path: Path, rabbitmq: RabbitServer, postgres_of_worker: PostgresServer) -> None:
    with Cluster(tmp_path, coordinators=0, runners=(), broker=rabbitmq, database=postgres_of_worker) as cluster:
        vhost = virtual_host(cluster)
        own: dict[str, dict[str, str]] = {}
        for kind, more in USERS.items():
            user = rabbitmq.add_user(vhost=vhost)
            cluster.command(
                *("topology", "permissions", "--user", user.name, "--kind", kind, *more, "--apply"),
                settings={"PENSTOCK_BROKER_MANAGEMENT_URL": rabbitmq.management_url()},
            )
            own[kind] = {"PENSTOCK_BROKER_URL": rabbitmq.url(vhost, user), "PENSTOCK_BROKER_MANAGEMENT_URL": ""}
        cluster.settings |= own["api"]
        cluster.add_api()
        cluster.add_coordinator(**own["coordinator"])
        cluster.add_runner({"cpu": 1}, **own["runner"])
        cluster.wait_ready()
        url, token = cluster.settings["PENSTOCK_API_URL"], cluster.settings["PENSTOCK_API_TOKEN"]
        admin = Connection(url, token)
        author = Connection(url, Access(admin).create_token("ada", Role.AUTHOR).token)
        with using_engine(HttpClient(tmp_path / "home", author)):
            run = tell.submit(text="abc")
            assert run.result() == "abc" * 3000
        logs = "".join(service.log_text() for service in cluster.services.values())
        assert "ACCESS_REFUSED" not in logs
        admin.close()
        author.close()
