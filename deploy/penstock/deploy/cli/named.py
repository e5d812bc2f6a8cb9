"""Named artifacts on the command line: what is meant by `churn@prod`, and how versions are shown."""

import re
import time

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.drawing import value_text
from penstock.contracts.errors import InvalidInput
from penstock.contracts.named_artifacts import SCHEME, ArtifactVersionView, RegisterRequest, reference
from penstock.contracts.targets import RegisterTarget
from penstock.deploy.areas.reachable import Reachable
from penstock.deploy.areas.registry import Registry
from penstock.deploy.cli.addresses import chosen_output, located, one_step_run
from penstock.deploy.cli.durations import age_text, size_text
from penstock.deploy.cli.progress import aligned
from penstock.sdk.client import EngineClient

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def registry_of(client: EngineClient) -> Registry:
    """The named artifacts of an engine.

    :raises InvalidInput: it has none.
    """
    if not isinstance(client, Reachable):
        raise InvalidInput("this engine has no named artifacts")
    return Registry(client.connection)


def tag(client: EngineClient, name_and_alias: str, words: list[str]) -> str:
    """Has `NAME@ALIAS` mean a digest, another named version, or an output of a step; says so."""
    wanted = reference(name_and_alias)
    if not isinstance(wanted.which, str):
        raise InvalidInput(f"{name_and_alias!r}: name what is to be moved as NAME@ALIAS, such as churn@prod")
    target = RegisterTarget(name=wanted.name, alias=wanted.which)
    registry = registry_of(client)
    if len(words) == 1 and (_DIGEST.fullmatch(words[0]) or "@" in words[0] or words[0].startswith(SCHEME)):
        text = words[0]
        other = None if _DIGEST.fullmatch(text) else reference(text)
        if other is not None and other.name == wanted.name:
            view = registry.set_alias(wanted.name, wanted.which, registry.version(other).version)
        else:
            view = registry.register(wanted.name, RegisterRequest(of=text if other is None else str(other), alias=target.alias))
    else:
        place = located(client, words)
        step_run = one_step_run(client, place)
        output = chosen_output(step_run, place.output)
        request = RegisterRequest(run=place.run.run_id, step=step_run.step, index=step_run.index, output=output, alias=target.alias)
        view = registry.register(wanted.name, request)
    return f"{wanted} is {view.reference} ({_digest(view)})"


def version_lines(views: list[ArtifactVersionView]) -> list[str]:
    """The versions of an artifact as a table."""
    now = time.time_ns() // 1000
    table = [("version", "aliases", "size", "digest", "made", "by", "contents")]
    for view in views:
        size = size_text(view.value.size) if isinstance(view.value, ArtifactRef) else ""
        made = age_text((now - view.made_at) / 1e6)
        contents = value_text(view.value, 40)
        table.append((str(view.version), ", ".join(view.aliases), size, _digest(view), made, view.run or view.made_by, contents))
    return aligned(table)


def name_lines(registry: Registry) -> list[str]:
    """Every named artifact as a table."""
    found = registry.names()
    if not found:
        return ['nothing has a name yet; register(model, "churn") in a pipeline gives one, or: penstock artifacts tag churn@prod STEP']
    table = [("artifact", "newest", "aliases")]
    table += [
        (view.name, str(view.newest), ", ".join(f"{alias}={number}" for alias, number in sorted(view.aliases.items()))) for view in found
    ]
    return aligned(table)


def _digest(view: ArtifactVersionView) -> str:
    return view.digest[:19]
