"""The topology in the broker's own format for definitions, for those who set up brokers by files, and as text. No I/O."""

from typing import Any

from penstock.transport.buses.rabbitmq.policies import POLICIES
from penstock.transport.buses.rabbitmq.topology import Topology


def definitions(wanted: Topology, virtual_host: str) -> dict[str, Any]:
    """What `rabbitmqctl import_definitions`, the management API and the setting `load_definitions` take."""
    place = {"vhost": virtual_host}
    return {
        "vhosts": [{"name": virtual_host}],
        "exchanges": [
            {"name": exchange.name, "type": exchange.kind.value, **place, **_KEPT, "internal": False, "arguments": {}}
            for exchange in wanted.exchanges
        ],
        "queues": [{"name": queue.name, **place, **_KEPT, "arguments": queue.arguments} for queue in wanted.queues],
        "bindings": [
            {
                "source": binding.exchange,
                "destination": binding.queue,
                "destination_type": "queue",
                "routing_key": binding.key,
                "arguments": {},
                **place,
            }
            for binding in wanted.bindings
        ],
        "policies": [
            {
                "name": policy.name,
                "pattern": policy.pattern,
                "apply-to": policy.governs.value,
                "definition": policy.definition,
                "priority": policy.priority,
                **place,
            }
            for policy in POLICIES
        ],
    }


_KEPT = {"durable": True, "auto_delete": False}


def description(wanted: Topology, virtual_host: str) -> list[str]:
    """A line for each thing; those of the policies are commands."""
    lines = [f"exchange {exchange.name}: {exchange.kind.value}, durable" for exchange in wanted.exchanges]
    for queue in wanted.queues:
        arguments = ", ".join(f"{name}={value}" for name, value in queue.arguments.items())
        lines.append(f"queue {queue.name}: durable, {arguments}")
    lines += [f"binding {binding.exchange} -> {binding.queue} by {binding.key!r}" for binding in wanted.bindings]
    return lines + [policy.command(virtual_host) for policy in POLICIES]
