"""The topology of the broker that the settings name."""

import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from penstock.contracts.errors import BusUnavailable, InvalidInput
from penstock.deploy.service_settings import ServiceSettings
from penstock.transport.buses.rabbitmq.address import Address, parse_address
from penstock.transport.buses.rabbitmq.definitions import definitions, description
from penstock.transport.buses.rabbitmq.finding import Finding
from penstock.transport.buses.rabbitmq.management import Management
from penstock.transport.buses.rabbitmq.permissions import Permissions
from penstock.transport.buses.rabbitmq.policies import POLICIES
from penstock.transport.buses.rabbitmq.topology import Topology, topology
from penstock.transport.buses.rabbitmq.topology_apply import Applied, apply
from penstock.transport.buses.rabbitmq.topology_check import check

# What they would print of a broker that refuses is in the error that ends the command.
for _driver in ("aio_pika", "aiormq"):
    logging.getLogger(_driver).addHandler(logging.NullHandler())


async def apply_topology(settings: ServiceSettings, wanted: Topology, on_wait: Callable[[str], None]) -> Applied:
    address = _address(settings)
    async with _management(settings, address) as management:
        return await apply(address, wanted, management=management, on_wait=on_wait)


async def check_topology(settings: ServiceSettings, wanted: Topology) -> list[Finding]:
    address = _address(settings)
    async with _management(settings, address) as management:
        return await check(address, wanted, management=management)


async def declare_pool(settings: ServiceSettings, workspace: str, pool: str) -> str:
    """Makes the queue of a pool where this process may; else says what an operator has to do."""
    try:
        await apply_topology(settings, topology([(workspace, pool)]), lambda _: None)
    except (BusUnavailable, InvalidInput) as error:
        return f"its queue could not be declared ({error}); declare it with: penstock topology apply --workspace {workspace} --pool {pool}"
    return ""


def commands_for_policies(settings: ServiceSettings) -> list[str]:
    return [policy.command(_address(settings).virtual_host) for policy in POLICIES]


def commands_for_permissions(settings: ServiceSettings, wanted: Permissions, virtual_host: str | None) -> list[str]:
    return wanted.commands(virtual_host or ("/" if settings.broker_url is None else _address(settings).virtual_host))


async def apply_permissions(settings: ServiceSettings, wanted: Permissions, virtual_host: str | None) -> None:
    place = virtual_host or _address(settings).virtual_host
    async with Management(settings.needed("broker_management_url"), place) as management:
        await management.set_permissions(wanted)


def exported(settings: ServiceSettings, wanted: Topology, virtual_host: str | None, *, as_text: bool) -> str:
    place = virtual_host or ("/" if settings.broker_url is None else _address(settings).virtual_host)
    if as_text:
        return "".join(f"{line}\n" for line in description(wanted, place))
    return json.dumps(definitions(wanted, place), indent=2) + "\n"


def _address(settings: ServiceSettings) -> Address:
    return parse_address(settings.needed("broker_url"))


@asynccontextmanager
async def _management(settings: ServiceSettings, address: Address) -> AsyncGenerator[Management | None, None]:
    if settings.broker_management_url is None:
        yield None
        return
    async with Management(settings.needed("broker_management_url"), address.virtual_host) as management:
        yield management
