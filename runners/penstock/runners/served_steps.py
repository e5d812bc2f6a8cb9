"""Which steps a user's file or module offers to be served, each with the digest of the code that it has now."""

from penstock.contracts.names import dashed
from penstock.runners.pipeline_files import Entry, traced_entries


def services_of(entry: Entry) -> list[dict[str, str]]:
    """`pipeline`, `step` and `code` of each step of the pipeline that the entry names, else of all that are there.

    :raises GraphError: as `traced_entries`.
    """
    return [
        {"pipeline": dashed(traced.spec.name), "step": step.name, "code": step.code.digest}
        for traced in traced_entries(entry)
        for step in traced.spec.steps
    ]
