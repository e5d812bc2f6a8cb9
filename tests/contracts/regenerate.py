"""Writes the JSON Schemas again, and golden files that are missing. One that exists stays: it is what others have stored and sent."""

from tests.contracts.golden import FIXTURES, SCHEMA_OF, SCHEMAS, golden_files, schema_text


def main() -> None:
    SCHEMAS.mkdir(exist_ok=True)
    for name in SCHEMA_OF:
        (SCHEMAS / f"{name}.schema.json").write_text(schema_text(name), encoding="utf-8")
    FIXTURES.mkdir(exist_ok=True)
    for path, data in golden_files().items():
        if not path.exists():
            path.write_bytes(data)


if __name__ == "__main__":
    main()
