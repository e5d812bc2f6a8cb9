"""Every error that Penstock raises on purpose, by whose fault it is. The branch decides what happens.

PenstockError
├── ContractError            the data is wrong: refuse it, say where, change nothing
│   ├── GraphError           a pipeline that can't be built
│   ├── InvalidInput         a parameter, argument, setting or file that can't be used
│   │   └── DataChanged      data outside that is not what it was when it was named
│   └── UnknownVersion       written by another version of Penstock
├── UserCodeError            the user's code failed: retry by its policy, show its traceback
│   └── RunFailed            a run did not succeed
└── InfrastructureError      something below failed: give the work back, try again
    ├── ArtifactLost         bytes that should exist are gone or don't match their digest
    ├── DatastoreUnavailable users' data can't be reached
    ├── BusUnavailable       the bus can't be reached; whether it took a message is unknown
    ├── StoreUnavailable     the store can't be reached or can't be written
    ├── EngineUnavailable    the services' API can't be reached, or fails
    └── StateTooNew          the state folder was written by a newer Penstock
"""


class PenstockError(Exception):
    """Something that Penstock raises on purpose; its text says what was wrong and what to do."""


class ContractError(PenstockError):
    """Data that breaks an agreement."""


class GraphError(ContractError):
    """A pipeline that can't be built; the text names the line and the mend."""


class InvalidInput(ContractError):
    """A parameter, argument, setting or file that can't be used."""


class DataChanged(InvalidInput):
    """Data outside is not what it was when it was named, or changed while it was read."""


class UnknownVersion(ContractError):
    """A message or document written by a version of Penstock that this one doesn't know."""


class UserCodeError(PenstockError):
    """The user's own code failed."""


class RunFailed(UserCodeError):
    """A run did not succeed; `run_id` names it."""

    def __init__(self, message: str, run_id: str = "") -> None:
        super().__init__(message)
        self.run_id = run_id


class InfrastructureError(PenstockError):
    """Something below Penstock failed."""


class ArtifactLost(InfrastructureError):
    """Bytes that should exist are gone or don't match their digest."""

    def __init__(self, message: str, digest: str = "") -> None:
        super().__init__(message)
        self.digest = digest


class DatastoreUnavailable(InfrastructureError):
    """A datastore, where users keep their data, can't be reached or refuses us."""


class BusUnavailable(InfrastructureError):
    """The bus can't be reached; whether it took a message is unknown."""


class StoreUnavailable(InfrastructureError):
    """The store can't be reached or can't be written."""


class EngineUnavailable(InfrastructureError):
    """The services' API can't be reached, or fails; what was asked may have been done."""


class StateTooNew(InfrastructureError):
    """The state folder was written by a newer Penstock than this one."""
