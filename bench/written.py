"""Tables into bench/README.md, each between marks of its own."""

from pathlib import Path

_README = Path(__file__).with_name("README.md")


def write_results(name: str, text: str) -> None:
    """Puts `text` between `<!-- name -->` and `<!-- end of name -->`."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = _README.read_text().partition(begin)
    _, _, after = rest.partition(end)
    _README.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
