"""Named artifacts: registered by runs and by hand, resolved when a run starts, moved, and never collected."""

import pytest

from penstock.contracts.artifacts import ArtifactRef, Value, inline
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import InvalidInput
from penstock.contracts.messages import RunOptions
from penstock.contracts.named_artifacts import Reference, reference, unresolved
from penstock.contracts.spec import ParameterSpec, PipelineSpec
from penstock.engine.housekeeping import remove_run, roots
from penstock.engine.people.named_artifacts import add_version, drop_alias, names, set_alias, version, versions
from penstock.engine.queries import find_run, run_view
from tests.engine.ledger import Ledger
from tests.engine.small_pipelines import pipeline, register, step


def stored(text: str, **fields: str) -> ArtifactRef:
    digest = digest_bytes(text.encode())
    return ArtifactRef.model_validate(
        {"uri": f"cas:{digest}", "digest": digest, "size": len(text), "media_type": "application/octet-stream", **fields}
    )


def train(ledger: Ledger, model: Value, alias: str | None = "candidate", name: str = "churn") -> int:
    """A run that registers that model."""
    run = ledger.submit(pipeline(step("train", cache=False), register(name, alias), result=f"register-{name}"))
    order = ledger.order(run, "train")
    ledger.tell(run, ledger.success(order, model))
    return run


def of_file(name: str = "model", read: str = "file") -> PipelineSpec:
    spec = pipeline(step("use", inputs={}))
    return spec.model_copy(update={"parameters": (ParameterSpec.model_validate({"name": name, "type": "File", "read": read}),)})


def meant(ledger: Ledger, text: str) -> str:
    return version(ledger.connection, "default", reference(text)).reference


def test_a_registered_artifact_is_the_next_version_and_the_alias_means_it(ledger: Ledger) -> None:
    first, second = train(ledger, stored("1")), train(ledger, stored("2"))

    assert ledger.outputs(first) == {"result": "artifact://churn@1"}
    assert ledger.reason(second, "register-churn") == "registered as artifact://churn@2, which 'candidate' means now"
    (view,) = names(ledger.connection, "default")
    assert (view.newest, view.versions, view.aliases) == (2, 2, {"candidate": 2})
    assert [(one.version, one.run, one.aliases) for one in versions(ledger.connection, "default", "churn")] == [
        (2, "small-2", ("candidate",)),
        (1, "small-1", ()),
    ]


def test_the_bytes_of_the_newest_version_are_no_new_version_and_the_alias_moves(ledger: Ledger) -> None:
    train(ledger, stored("1"), alias=None)
    train(ledger, stored("1"), alias="prod")

    assert meant(ledger, "churn") == meant(ledger, "churn@prod") == "artifact://churn@1"


def test_the_same_bytes_as_another_kind_of_thing_are_another_version(ledger: Ledger) -> None:
    train(ledger, stored("0.5"))
    train(ledger, stored("0.5", suffix=".txt"))
    train(ledger, inline(0.5))

    assert {one.digest for one in versions(ledger.connection, "default", "churn")} == {stored("0.5").digest}
    assert meant(ledger, "churn") == "artifact://churn@3"


def test_two_registrations_of_one_transaction_are_two_versions(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(step("train", cache=False), register(), register().model_copy(update={"name": "again"})))
    ledger.tell(run, ledger.success(ledger.order(run, "train"), stored("1")))

    assert [one.version for one in versions(ledger.connection, "default", "churn")] == [1]
    assert ledger.run(run) == "succeeded"


def test_a_rerun_leaves_names_alone_where_it_keeps_the_step(ledger: Ledger) -> None:
    run = train(ledger, stored("1"), alias="prod")
    train(ledger, stored("2"), alias="prod")
    spec = pipeline(step("train", cache=False), register(alias="prod"), result="register-churn")

    again = ledger.submit(spec, options=RunOptions(pinned_from=f"run-{run}"))

    assert ledger.run(again) == "succeeded"
    assert meant(ledger, "churn@prod") == "artifact://churn@2"


@pytest.mark.parametrize(("text", "expected"), [("churn", "2"), ("churn@1", "1"), ("churn@prod", "1")])
def test_a_parameter_is_resolved_when_the_run_starts_and_the_run_shows_it(ledger: Ledger, text: str, expected: str) -> None:
    train(ledger, stored("1"), alias="prod")
    train(ledger, stored("2"))

    run = ledger.submit_values(of_file(), model=unresolved(text))

    view = run_view(ledger.connection, find_run(ledger.connection, "default", f"run-{run}"), ledger.now)
    assert view.parameters == {"model": stored(expected)}
    assert view.resolved == {f"artifact://{text}": f"artifact://churn@{expected}"}


def test_a_default_of_the_pipeline_is_resolved_too(ledger: Ledger) -> None:
    train(ledger, stored("1"))
    parameter = ParameterSpec(name="model", type="File", read="file", required=False, default=unresolved("churn@candidate"))

    run = ledger.submit(of_file().model_copy(update={"parameters": (parameter,)}))

    assert run_view(ledger.connection, find_run(ledger.connection, "default", f"run-{run}"), 0).parameters == {"model": stored("1")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("churm", "no artifact is named 'churm' .did you mean 'churn'."),
        ("churn@prodd", "has no alias 'prodd' .did you mean 'prod'."),
        ("churn@7", "has no version 7 .the newest is 1."),
        ("fraud@prod", "no artifact is named 'fraud' .there is churn."),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(ledger: Ledger, text: str, message: str) -> None:
    train(ledger, stored("1"), alias="prod")

    with pytest.raises(InvalidInput, match=message):
        ledger.submit_values(of_file(), model=unresolved(text))


def test_a_file_parameter_takes_no_folder(ledger: Ledger) -> None:
    train(ledger, stored("1", kind="directory"))

    with pytest.raises(InvalidInput, match="the parameter 'model' wants a file, and artifact://churn is a folder"):
        ledger.submit_values(of_file(), model=unresolved("churn"))
    assert ledger.submit_values(of_file(read="directory"), model=unresolved("churn")) > 0


def test_what_has_a_name_is_never_collected(ledger: Ledger) -> None:
    model = stored("1")
    run = train(ledger, model)

    remove_run(ledger.connection, run)

    assert model.digest in roots(ledger.connection, "default", ledger.now + 1)
    (only,) = versions(ledger.connection, "default", "churn")
    assert (only.run, only.value) == (None, model)


def test_aliases_are_moved_and_dropped_by_hand(ledger: Ledger) -> None:
    train(ledger, stored("1"), alias=None)
    train(ledger, stored("2"), alias="prod")

    set_alias(ledger.connection, "default", "churn", "prod", 1, by="ada", now=ledger.now)
    assert meant(ledger, "churn@prod") == "artifact://churn@1"
    with pytest.raises(InvalidInput, match="no version 3"):
        set_alias(ledger.connection, "default", "churn", "prod", 3, by="ada", now=ledger.now)

    drop_alias(ledger.connection, "default", "churn", "prod")
    with pytest.raises(InvalidInput, match=r"no alias 'prod' \(it has none\)"):
        meant(ledger, "churn@prod")


def test_workspaces_have_names_of_their_own(ledger: Ledger) -> None:
    train(ledger, stored("1"))

    add_version(ledger.connection, "other", "churn", inline(3), alias="prod", by="ada", now=ledger.now)

    assert version(ledger.connection, "other", Reference("churn", "prod")).value == inline(3)
    assert [view.newest for view in names(ledger.connection, "default")] == [1]


@pytest.mark.parametrize(
    "text", ["artifact://", "artifact://Churn", "churn@", "churn@prod@1", "churn@1x", "churn@1" + "0" * 30, "../x", "a/b"]
)
def test_text_that_names_no_artifact_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        reference(text)
