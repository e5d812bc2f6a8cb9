"""What every guest is told of its attempt, wherever it is: plain data. Its launcher adds the places where things are."""

from typing import Any

from penstock.contracts.errors import ContractError
from penstock.contracts.messages import Order
from penstock.contracts.spec import CommandTarget, FunctionTarget, StepSpec
from penstock.contracts.targets import ApprovalTarget, RegisterTarget
from penstock.runners.idempotency import idempotency_key


def guest_order(order: Order, step: StepSpec) -> dict[str, Any]:
    """What to execute on what, and who it is."""
    return {
        **_target(step),
        "inputs": {name: value.model_dump(mode="json", exclude_defaults=True) for name, value in order.inputs.items()},
        "outputs": [output.model_dump() for output in step.outputs],
        "files": step.files,
        "seed": order.seed,
        "identity": {
            "run_id": order.run_id,
            "index": order.index,
            "attempt": order.attempt.attempt_no,
            "cause": order.cause,
            "idempotency_key": idempotency_key(order.run_id, step.name, order.index),
        },
    }


def _target(step: StepSpec) -> dict[str, Any]:
    match step.run:
        case FunctionTarget(module=module, function=function):
            return {"module": module, "function": function}
        case CommandTarget(command=command, workdir=folder):
            return {"command": [argument.model_dump() for argument in command], "folder": folder}
        case ApprovalTarget() | RegisterTarget():
            raise ContractError(f"{step.name!r} is done by the coordinator: no runner can execute it")
