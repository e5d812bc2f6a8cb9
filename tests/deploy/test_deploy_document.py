"""docs/deploy.md: its commands name what there is - targets, files, stages, arguments, values, keys of the secret."""

import json
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
import yaml

from tests.deploy.charts.render import CHART, manifests
from tests.docs.snippets import snippets_in

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "deploy.md"


def _commands(*programs: str) -> list[list[str]]:
    blocks = [snippet.body.replace("\\\n", " ") for snippet in snippets_in(DOCUMENT) if snippet.language == "text"]
    lines = [line for block in blocks for line in block.splitlines() if line.split(" ")[0] in programs]
    assert lines
    return [shlex.split(line) for line in lines]


def _options(command: list[str], name: str) -> list[str]:
    return [value for option, value in pairwise(command) if option == name]


def test_every_target_of_make_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    for _, target, *_ in _commands("make"):
        assert re.search(rf"^{target}:.*##", makefile, re.MULTILINE), target


def test_every_image_can_be_built_as_it_is_written() -> None:
    for command in _commands("docker"):
        if command[1] != "build":
            continue
        [file], [target] = _options(command, "--file"), _options(command, "--target")
        text = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^FROM \S+ AS {target}$", text, re.MULTILINE), target
        for argument in _options(command, "--build-arg"):
            assert re.search(rf"^ARG {argument.partition('=')[0]}=", text, re.MULTILINE), argument


def test_the_images_are_those_of_the_compose_file() -> None:
    built = {_options(command, "--tag")[0] for command in _commands("docker") if command[1] == "build"}
    text = (ROOT / "deploy" / "compose" / "compose.yaml").read_text(encoding="utf-8")

    assert built == set(re.findall(r"_IMAGE:-(penstock/[^}]+)\}", text))


def test_every_profile_service_and_variable_of_the_compose_file_is_there() -> None:
    text = (ROOT / "deploy" / "compose" / "compose.yaml").read_text(encoding="utf-8")
    services: dict[str, Any] = yaml.safe_load(text)["services"]
    profiles = {profile for service in services.values() for profile in service.get("profiles", ())}

    for command in _commands("docker"):
        if command[1] == "compose":
            assert (ROOT / _options(command, "--file")[0]).is_file()
            assert set(_options(command, "--profile")) <= profiles
            assert {scaled.partition("=")[0] for scaled in _options(command, "--scale")} <= set(services)
    section = DOCUMENT.read_text(encoding="utf-8").partition("## One host")[2].partition("## Kubernetes")[0]
    named = set(re.findall(r"`((?:PENSTOCK|AWS)_\w+)`", section))
    assert named <= set(re.findall(r"\$\{(\w+):-", text))


def test_the_secret_has_the_keys_that_the_chart_reads() -> None:
    [command] = [command for command in _commands("kubectl") if "secret" in command]
    made = {part.removeprefix("--from-literal=").partition("=")[0] for part in command if part.startswith("--from-literal=")}

    read = set(re.findall(r"'key': '([a-z-]+)'", str(manifests("default"))))
    assert made == read


def test_every_value_that_is_set_is_there() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    [command] = _commands("helm")

    assert ROOT / command[4] == CHART
    for setting in _options(command, "--set"):
        place: Any = values
        for name in setting.partition("=")[0].split("."):
            place = place[name]


def test_the_values_of_the_page_fit_the_schema() -> None:
    snippets = [snippet for snippet in snippets_in(DOCUMENT) if snippet.file is not None and snippet.file.endswith("values.yaml")]
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    for snippet in snippets:
        values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
        jsonschema.validate(_over(values, yaml.safe_load(snippet.body)), schema)
    assert len(snippets) == 3


def _over(values: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """As Helm takes values: those of tables one by one."""
    both = dict(values)
    for name, value in own.items():
        before = values.get(name)
        is_table = isinstance(before, dict) and isinstance(value, dict)
        both[name] = _over(cast("dict[str, Any]", before), cast("dict[str, Any]", value)) if is_table else value
    return both


@pytest.mark.parametrize("command", _commands("penstock", ".venv/bin/penstock"), ids=" ".join)
def test_every_command_of_penstock_is_there(command: list[str]) -> None:
    names = command[1:3] if command[1] == "topology" else command[1:2]
    asked = [str(Path(sys.executable).with_name("penstock")), *names, "--help"]
    helped = subprocess.run(asked, capture_output=True, text=True, check=True).stdout

    assert [option for option in command if option.startswith("--") and option not in helped] == []
