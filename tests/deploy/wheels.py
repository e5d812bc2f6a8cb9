"""Wheels made of what is installed where the tests run: an image can be built from them without a network."""

import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path


def write_wheel(name: str, folder: Path) -> None:
    """The installed package of that name as a wheel."""
    found = distribution(name)
    stem = f"{name.replace('-', '_')}-{found.version}"
    tags = [line.partition(": ")[2] for line in (found.read_text("WHEEL") or "").splitlines() if line.startswith("Tag: ")]
    # Of several it is enough to name one that fits.
    tag = next(tag for tag in tags if not tag.startswith("py2-"))
    with zipfile.ZipFile(folder / f"{stem}-{tag}.whl", "w") as archive:
        members = _members(found, stem)
        for member, file in members.items():
            archive.write(file, member)
        information = next(member.partition("/")[0] for member in members if ".dist-info/" in member)
        archive.writestr(f"{information}/RECORD", "".join(f"{member},,\n" for member in [*members, f"{information}/RECORD"]))


def _members(found: Distribution, stem: str) -> dict[str, Path]:
    made_by_installers = {point.name for point in found.entry_points}
    members: dict[str, Path] = {}
    for file in found.files or ():
        path = Path(str(found.locate_file(file)))
        if file.parts[0] == "..":
            if file.name not in made_by_installers and file.parent.name == "bin":
                members[f"{stem}.data/scripts/{file.name}"] = path
        elif "__pycache__" not in file.parts and file.name not in ("RECORD", "INSTALLER", "REQUESTED"):
            members[str(file)] = path
    return members
