"""Every route with every role, as the app's own description lists them; and what is of other workspaces, with any role."""

from collections.abc import AsyncIterator

import httpx
import pytest

from penstock.contracts.access import Role
from penstock.contracts.encoding import digest_bytes
from penstock.engine.api.permissions import NEVER_SCOPED, PERMISSIONS, UNAUDITED, Need, Wide
from tests.engine.api.people import client_of, client_with, new_token
from tests.engine.api.serving import TOKEN, Api, api, plain, routes, templates

NEEDS: dict[str, Need] = {route: need for area in PERMISSIONS.values() for route, need in area.items()}
AREAS = {route: area for area, listed in PERMISSIONS.items() for route in listed}
PAIRS = [(f"{method} {path.removeprefix('/v1')}", *made) for (method, path), made in zip(templates(), routes(), strict=True)]
SECRET = "hunter2-hunter2"


@pytest.fixture
async def served() -> AsyncIterator[Api]:
    async with api() as made:
        yield made


async def answer_to(client: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
    return await client.request(method, path, json={}) if method in ("POST", "PUT") else await client.request(method, path)


def is_refused(answer: httpx.Response) -> bool:
    """Whether that was for who asks, and not for what."""
    return answer.status_code == 403 and (
        "takes the role" in answer.text or "takes an admin" in answer.text or "takes the scope" in answer.text
    )


def test_every_route_has_a_line_in_the_table_of_permissions() -> None:
    """A route that is named here is refused to everybody: write a line for it in permissions.py."""
    assert sorted({route for route, _, _ in PAIRS} - set(NEEDS)) == []


def test_every_line_in_the_table_of_permissions_has_its_route() -> None:
    known = {route for route, _, _ in PAIRS}
    assert sorted((set(NEEDS) | NEVER_SCOPED | UNAUDITED) - known) == []


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_may_do_what_the_table_says_and_nothing_else(served: Api, role: Role) -> None:
    client = await client_with(served, role)

    for route, method, path in PAIRS:
        need = NEEDS[route]
        may = need is Wide.ANYBODY or (isinstance(need, Role) and role.includes(need))
        answer = await answer_to(client, method, path)
        assert is_refused(answer) is not may, f"{route} as {role}: {answer.status_code} {answer.text}"
        assert may or answer.headers["content-type"] == "application/problem+json"


async def test_nobody_may_use_a_route_that_nobody_spoke_of(served: Api) -> None:
    @served.app.get("/v1/forgotten")
    async def forgotten() -> str:
        return "secret"

    answer = await served.http.get("/v1/forgotten")

    assert answer.status_code == 403
    assert "GET /forgotten" in answer.json()["detail"]


async def test_what_only_admins_of_all_may_do_is_done_by_one_alone(served: Api) -> None:
    admin = await client_with(served, Role.ADMIN)

    assert (await admin.post("/v1/workspaces", json={"name": "other"})).status_code == 403
    assert (await served.http.post("/v1/workspaces", json={"name": "other"})).status_code == 201
    assert (await admin.put("/v1/members/eve?everywhere=true", json={"role": "admin"})).status_code == 403


@pytest.mark.parametrize("role", list(Role))
async def test_a_token_with_scopes_may_do_less_than_its_role(served: Api, role: Role) -> None:
    reader = await client_with(served, role, scopes=["runs:read"])

    for route, method, path in PAIRS:
        answer = await answer_to(reader, method, path)
        may = AREAS[route] == "runs" and method == "GET"
        assert is_refused(answer) is not (may or route in NEVER_SCOPED), f"{route}: {answer.status_code} {answer.text}"


async def fill(served: Api) -> list[httpx.Response]:
    """Something of each kind that has a name or a number, in the default workspace."""
    digest = digest_bytes(b"x")
    event = {"specversion": "1.0", "id": "e1", "source": "/lake", "type": "file", "data": {"told": SECRET}}
    hook = {"name": "flow", "kind": "bus", "types": ["penstock.run.*"]}
    answers = [
        await served.submit("flow", name="flow", tags={"secret": SECRET}),
        await served.http.put(f"/v1/artifacts/{digest}", content=b"x"),
        await served.http.post("/v1/named-artifacts/flow/versions", json={"of": digest, "alias": "flow"}),
        await served.http.post("/v1/pipelines/flow/versions", json={"version": "1", "spec": plain()}),
        await served.http.post("/v1/events", json=event, headers={"Content-Type": "application/cloudevents+json"}),
        await served.http.post("/v1/subscriptions", json=hook),
        # From then on, steps name pools that are defined.
        await served.http.put("/v1/pools/flow", json={"name": "flow", "slots_per_runner": 3}),
    ]
    assert [answer.text for answer in answers if not answer.is_success] == []
    return answers


async def state(served: Api) -> list[object]:
    """What is told of them, but for how long ago it was."""
    paths = ("runs", "named-artifacts/flow/versions", "pools/flow", "pipelines/flow", "events", "subscriptions/flow", "members", "tokens")
    return [(await served.http.get(f"/v1/{path}")).json() for path in paths]


@pytest.mark.parametrize("role", list(Role))
async def test_what_is_of_another_workspace_is_not_there(served: Api, role: Role) -> None:
    await served.http.post("/v1/workspaces", json={"name": "other"})
    await fill(served)
    stranger = await client_with(served, role, workspace="other")
    before = await state(served)

    # What can be made in one's own workspace is made last.
    for _, method, path in sorted(PAIRS, key=lambda pair: pair[1] in ("PUT", "POST")):
        answer = await answer_to(stranger, method, path)
        assert SECRET not in answer.text, f"{method} {path}"
        if method == "GET" and ("flow" in path or path.endswith("/1")):
            assert is_refused(answer) or answer.status_code in (404, 422), f"{method} {path}: {answer.status_code} {answer.text}"
    assert (await stranger.get(f"/v1/artifacts/{digest_bytes(b'x')}")).status_code == 404
    assert await state(served) == before
    for there in ("default", "no-such-workspace", "*", "a b"):
        for client in (client_of(served, TOKEN + "x"), stranger):
            answer = await client.get("/v1/runs", headers={"Penstock-Workspace": there})
            assert answer.status_code in (401, 404)
    assert (await stranger.get("/v1/runs?workspace=default")).status_code == 404


async def test_the_runs_of_two_workspaces_may_have_one_id(served: Api) -> None:
    await served.http.post("/v1/workspaces", json={"name": "other"})
    await served.submit("run1")
    author = await client_with(served, Role.AUTHOR, workspace="other")

    theirs = await author.post("/v1/runs", json={"run_id": "run1", "spec": plain(), "tags": {"of": "other"}})

    assert theirs.status_code == 201, theirs.text
    assert (await author.get("/v1/runs/run1")).json()["tags"] == {"of": "other"}
    assert (await served.http.get("/v1/runs/run1")).json()["tags"] == {}


async def test_an_operator_starts_what_is_known_and_no_new_code(served: Api) -> None:
    operator = await client_with(served, Role.OPERATOR)
    asked = {"run_id": "run2", "spec": plain()}

    refused = await operator.post("/v1/runs", json=asked)
    assert refused.status_code == 403
    assert "author" in refused.json()["detail"]
    await served.submit("run1")
    assert (await operator.post("/v1/runs", json=asked)).status_code == 201


async def test_nobody_asks_for_a_run_in_the_name_of_another(served: Api) -> None:
    author = await client_with(served, Role.AUTHOR)
    asked = {"run_id": "run1", "spec": plain(), "cause": {"kind": "manual", "by": "alice"}}

    assert (await author.post("/v1/runs", json=asked)).json()["cause"]["by"] == "token:default-author"


async def test_whoever_has_no_role_everywhere_is_told_of_their_own_workspaces_only(served: Api) -> None:
    await served.http.post("/v1/workspaces", json={"name": "other"})
    viewer = await client_of(served, (await new_token(served, "ci", Role.VIEWER, workspace="other"))["token"]).get("/v1/me")

    assert viewer.json() == {
        "name": "token:ci",
        "kind": "token",
        "groups": [],
        "scopes": [],
        "workspace": "other",
        "workspaces": [{"name": "other", "role": "viewer"}],
    }
    assert [one["name"] for one in (await served.http.get("/v1/workspaces")).json()["workspaces"]] == ["default", "other"]
