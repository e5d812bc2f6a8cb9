"""The policies: all that is tuned on the broker. They are data here; `management` sets them, or an operator by `rabbitmqctl`.

A queue obeys one policy, the one with the highest priority. An operator who wants other limits sets one of a higher priority
that repeats what is here.
"""

import json
import re
import shlex
from dataclasses import dataclass, field
from enum import StrEnum

from penstock.transport.bus import DEAD, Exchange
from penstock.transport.buses.rabbitmq.topology import UNROUTABLE

PRIORITY = 10
DELIVERY_LIMIT = 20
"""A delivery that ended its consumer's connection so often is taken away. The default of RabbitMQ 4; RabbitMQ 3 has none."""
_NO_LIMIT = 1_000_000_000
"""Dead letters have nowhere to go; a limit, which RabbitMQ 4 sets by default, would drop them."""
PolicyValue = str | int


class Governs(StrEnum):
    QUEUES = "queues"
    EXCHANGES = "exchanges"


@dataclass(frozen=True, slots=True)
class Policy:
    name: str
    pattern: str
    governs: Governs
    definition: dict[str, PolicyValue] = field(hash=False)
    priority: int = PRIORITY

    def matches(self, governs: Governs, name: str) -> bool:
        return governs is self.governs and re.search(self.pattern, name) is not None

    def command(self, virtual_host: str) -> str:
        """The line of a shell that sets it."""
        words = ["rabbitmqctl", "set_policy", "--vhost", virtual_host, "--priority", str(self.priority), "--apply-to", self.governs.value]
        return shlex.join([*words, self.name, self.pattern, json.dumps(self.definition)])


# Without all three of them, dead lettering is at most once. An overflow never drops what a publisher was told is safe.
_SAFE_DEATH: dict[str, PolicyValue] = {"dead-letter-exchange": DEAD, "dead-letter-strategy": "at-least-once", "overflow": "reject-publish"}

POLICIES = (
    Policy("penstock-work", r"^penstock\.((inbox|ingest)$|pool\.)", Governs.QUEUES, {**_SAFE_DEATH, "delivery-limit": DELIVERY_LIMIT}),
    # Lanes are classic queues: they know neither the strategy nor the limit.
    Policy("penstock-lane", r"^penstock\.lane\.", Governs.QUEUES, {"dead-letter-exchange": DEAD, "overflow": "reject-publish"}),
    Policy("penstock-dead", r"^penstock\.dead$", Governs.QUEUES, {"overflow": "reject-publish", "delivery-limit": _NO_LIMIT}),
    Policy("penstock-unroutable", rf"^{re.escape(Exchange.WORK)}$", Governs.EXCHANGES, {"alternate-exchange": UNROUTABLE}),
)
