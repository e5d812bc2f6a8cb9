"""What the documents say about services is so."""

import shlex
from pathlib import Path

import pytest

from tests.docs.snippets import snippets_in
from tests.servers.cluster import Cluster
from tests.servers.process import free_port
from tests.servers.service import Service

DOCS = Path(__file__).parents[2] / "docs"


def commands() -> list[list[str]]:
    """The arguments of every `penstock` command of the document."""
    lines = [line for snippet in snippets_in(DOCS / "services.md") if snippet.language == "text" for line in snippet.body.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("penstock ")]


def names(kind: str) -> set[str]:
    """The metrics that the document lists for a kind of service."""
    text = (DOCS / "operations.md").read_text().split("## Metrics")[1].split("## Traces")[0]
    every, rest = text.split("Of coordinators.")
    coordinators, runners = rest.split("Of runners:")
    return {
        line.split("`")[1] for line in (every + {"coordinator": coordinators, "runner": runners}[kind]).splitlines() if line[:3] == "| `"
    }


def test_the_commands_of_the_document_start_services(cluster: Cluster) -> None:
    started: list[Service] = []
    try:
        for arguments in commands():
            if arguments[0] in ("db", "topology"):
                cluster.command(*arguments)
            elif arguments[0] in ("coordinator", "runner", "api"):
                port = str(free_port())
                started.append(Service("documented", [port if part == "8080" else part for part in arguments], cluster.settings))
                started[-1].launch()
        assert len(started) == 4
        for service in started:
            service.wait_until_ready()
    finally:
        for service in started:
            service.close()


@pytest.mark.parametrize("kind", ["coordinator", "runner"])
def test_every_metric_is_in_the_document(cluster: Cluster, kind: str) -> None:
    text = cluster.services[f"{kind}-1"].page("/metrics")[1]
    shown = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}

    assert shown == names(kind)
