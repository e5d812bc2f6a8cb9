"""Registrations: an artifact gets the next version of a name, and an alias moves, in the transaction that decides it."""

from penstock.contracts.artifacts import content_digest, inline
from penstock.contracts.named_artifacts import Reference, digest_shown
from penstock.contracts.states import StepState
from penstock.contracts.targets import ARTIFACT, RegisterTarget
from penstock.engine.core.rows import Registration, StepRow, pack_value, unpack_values
from penstock.engine.core.slice import Slice, Steps
from penstock.engine.core.wants import NewestVersions


def register(rows: Slice, row: StepRow, target: RegisterTarget) -> Steps:
    """Names what the step run was given. The bytes of the newest version are no new one."""
    value = unpack_values(row.inputs)[ARTIFACT]
    contents = content_digest(value)
    if target.name not in rows.newest:
        yield NewestVersions([target.name])
    version, known = rows.newest.get(target.name, (0, ""))
    is_new = contents != known
    version += is_new
    rows.newest[target.name] = (version, contents)
    rows.changes.registrations.append(Registration(target.name, version, digest_shown(value), pack_value(value), target.alias, is_new))
    reference = Reference(target.name, version)
    rows.touch(row)
    row.started_at = rows.now
    row.set_outputs({"result": inline(str(reference))})
    said = f"{'registered as' if is_new else 'is already'} {reference}"
    rows.end(row, StepState.SUCCEEDED, said if target.alias is None else f"{said}, which {target.alias!r} means now")
