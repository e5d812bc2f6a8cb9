"""What steps see of their surroundings, and what they say to them."""

import os
import sys
import time
from pathlib import Path

from penstock.sdk import Directory, File, Secret, current_run, pipeline, step


@step(env_vars={"REGION": "eu", "TOKEN": Secret("token")}, pass_env=["COLOUR"], cache=False)
def variables() -> dict[str, str | None]:
    print("the token is", os.environ["TOKEN"])
    print("the token is", os.environ["TOKEN"], file=sys.stderr)
    return {name: os.environ.get(name) for name in ("REGION", "COLOUR", "UNDECLARED")} | {"length": str(len(os.environ["TOKEN"]))}


@pipeline
def showing_variables() -> dict[str, str | None]:
    return variables()


@step(env_vars={"TOKEN": Secret("token")}, cache=False)
def failing_with_secret() -> None:
    raise ValueError(f"refused {os.environ['TOKEN']}")


@pipeline
def leaking() -> None:
    failing_with_secret()


@step
def talkative(x: int) -> int:
    run = current_run()
    for epoch in range(3):
        run.log_metric("loss", 1 / (epoch + 1), step=epoch)
    Path("notes.txt").write_text("kept")
    run.attach("notes.txt", "notes.txt")
    run.attach("raw.bin", b"\x00\x01")
    run.tag(best="yes")
    print("said by the step")
    print("and to the other stream", file=sys.stderr)
    os.write(1, b"and past Python\n")
    return x


@pipeline
def talking(x: int) -> int:
    return talkative(x)


@step(cache=False)
def reporting(gate: str) -> int:
    current_run().progress(3, 10, "three of ten")
    print("in the middle", flush=True)
    while not Path(gate).exists():
        time.sleep(0.01)
    return 1


@pipeline
def in_progress(gate: str) -> int:
    return reporting(gate)


@step
def alone(x: int) -> list[str]:
    """Its working directory is its own and empty."""
    found = sorted(path.name for path in Path.cwd().iterdir())
    Path("left over").write_text("x")
    return [*found, str(Path.cwd().is_absolute())]


@pipeline
def working_alone(x: int) -> list[str]:
    return alone(x)


@step
def halves(data: File, folder: Directory) -> tuple[File, Directory]:
    """Gives back a file and a folder, executable bit included."""
    text = data.path.read_text()
    Path("half.txt").write_text(text[: len(text) // 2])
    Path("out/deep").mkdir(parents=True)
    for file in folder.files():
        Path("out/deep", file.path.name).write_text(file.path.read_text().upper())
    Path("out/tool.sh").write_text("#!/bin/sh\n")
    Path("out/tool.sh").chmod(0o755)
    return File("half.txt"), Directory("out")


@step
def described(half: File, made: Directory) -> list[str]:
    return [
        half.path.name,
        half.path.read_text(),
        *(f.path.name for f in made.files()),
        oct(made.file("tool.sh").path.stat().st_mode & 0o111),
    ]


@pipeline
def of_files(data: File, folder: Directory) -> list[str]:
    half, made = halves(data, folder)
    return described(half, made)
