"""A package index in a folder, for uv without a network: tiny packages, and those that Penstock needs in guests, as they are installed."""

import base64
import hashlib
import io
import tarfile
import zipfile
from importlib.metadata import distribution
from pathlib import Path

_INSTALLED = ("annotated-types", "msgpack", "pydantic", "pydantic-core", "typing-extensions", "typing-inspection")


class PackageIndex:
    """`configuration` is a file for `UV_CONFIG_FILE`, by which uv knows this index and no other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.configuration = folder.with_suffix(".toml")
        self.configuration.write_text(f'no-index = true\nfind-links = ["{folder}"]\n')

    def add(self, name: str, version: str, code: str = "", *, requires: str = "") -> None:
        """A package of one module, which has its version."""
        information = f"{name}-{version}.dist-info"
        needed = f"Requires-Dist: {requires}\n" if requires else ""
        self._write(
            f"{name}-{version}-py3-none-any.whl",
            {
                f"{name}.py": f"VERSION = {version!r}\n{code}".encode(),
                f"{information}/METADATA": f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n{needed}".encode(),
                f"{information}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            },
        )

    def add_source(self, name: str, version: str, backend: str) -> None:
        """A package that is built where it is installed, by a backend that lies in it."""
        project = (
            f'[project]\nname = "{name}"\nversion = "{version}"\n'
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        )
        files = {
            "PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n",
            "pyproject.toml": project,
            "backend.py": backend,
        }
        with tarfile.open(self.folder / f"{name}-{version}.tar.gz", "w:gz") as archive:
            for path, text in files.items():
                entry = tarfile.TarInfo(f"{name}-{version}/{path}")
                entry.size = len(text.encode())
                archive.addfile(entry, io.BytesIO(text.encode()))

    def add_installed(self) -> None:
        """What guests need of Penstock's own requirements, made from the interpreter that runs the tests."""
        for name in _INSTALLED:
            found = distribution(name)
            files = {
                str(file): Path(str(found.locate_file(file))).read_bytes()
                for file in found.files or ()
                if not str(file).startswith("..") and "__pycache__" not in file.parts and file.name not in ("RECORD", "INSTALLER")
            }
            tags = [line.partition(": ")[2] for line in (found.read_text("WHEEL") or "").splitlines() if line.startswith("Tag: ")]
            self._write(f"{name.replace('-', '_')}-{found.version}-{tags[0]}.whl", files)

    def locked(self, file: Path, *pinned: str) -> Path:
        """A lock of distributions of this index, written to `file`."""
        lines: list[str] = []
        for requirement in pinned:
            name, _, version = requirement.partition("==")
            archive = next(self.folder.glob(f"{name}-{version}*"))
            lines.append(f"{requirement} --hash=sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}\n")
        file.write_text("".join(lines))
        return file

    def _write(self, name: str, files: dict[str, bytes]) -> None:
        information = next(path.partition("/")[0] for path in files if ".dist-info/" in path)
        record = [f"{path},sha256={_short(data)},{len(data)}" for path, data in files.items()]
        with zipfile.ZipFile(self.folder / name, "w") as archive:
            for path, data in files.items():
                archive.writestr(path, data)
            archive.writestr(f"{information}/RECORD", "\n".join([*record, f"{information}/RECORD,,", ""]))


def _short(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
