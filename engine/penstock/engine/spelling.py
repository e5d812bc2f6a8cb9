"""What SQLite and PostgreSQL spell differently, as words that statements use: each word stands for one spelling per dialect."""

import re
from dataclasses import dataclass

_ARGUMENT = r"([^(),]+)"


@dataclass(frozen=True, slots=True)
class Word:
    """`name(arguments)` in a statement; a spelling refers to the arguments as `{0}`, `{1}`."""

    name: str
    arguments: int
    sqlite: str
    postgresql: str

    def replaced(self, sql: str, dialect: str) -> str:
        """The text with this word spelled for the dialect."""
        pattern = rf"\b{self.name}\(" + r",\s*".join([_ARGUMENT] * self.arguments) + r"\)"
        spelling = self.postgresql if dialect == "postgresql" else self.sqlite
        return re.sub(pattern, lambda match: spelling.format(*match.groups()), sql)


WORDS = (
    # Whether two values are the same, NULL being the same as NULL.
    Word("same", 2, "{0} IS {1}", "{0} IS NOT DISTINCT FROM CAST({1} AS TEXT)"),
    Word("greater_of", 2, "max({0}, {1})", "greatest({0}, {1})"),
    # A column by which SQLite must not look rows up, since another condition leaves fewer of them.
    Word("scanned", 1, "+{0}", "{0}"),
    # The elements of a JSON array as rows, and what is in an element: parts of a list, a string, a number.
    Word("elements", 1, "json_each({0})", "jsonb_array_elements(CAST({0} AS JSONB))"),
    Word("part_of", 2, "json_extract({0}.value, '$[{1}]')", "CAST({0}.value ->> {1} AS BIGINT)"),
    Word("text_part_of", 2, "json_extract({0}.value, '$[{1}]')", "({0}.value ->> {1})"),
    Word("text_of", 1, "{0}.value", "({0}.value #>> '{{}}')"),
    Word("number_of", 1, "{0}.value", "CAST({0}.value AS BIGINT)"),
    # The text at a name in a JSON object; NULL where there is none.
    Word(
        "text_at",
        2,
        "(SELECT value FROM json_each({0}) WHERE key = {1} LIMIT 1)",
        "(CAST({0} AS JSONB) ->> CAST({1} AS TEXT))",
    ),
    # Whether a number is in a JSON array, as a condition that leaves an index's order as it is.
    Word(
        "listed",
        2,
        "{0} IN (SELECT value FROM json_each({1}))",
        "{0} = ANY(ARRAY(SELECT CAST(value AS BIGINT) FROM jsonb_array_elements_text(CAST({1} AS JSONB))))",
    ),
    # Between these, of a table that is looked up for each element: PostgreSQL plans before it knows how many rows there will be, and
    # would go through all of them; of what stands by itself it can only look up.
    Word("looked_up", 1, "", "LATERAL (SELECT {0}.* FROM"),
    Word("so_far", 1, "", "OFFSET 0) {0}"),
    # At the end of a query, PostgreSQL only: locks the rows, waits for whoever holds them or leaves them out. SQLite has one writer.
    Word("locked", 1, "", "FOR UPDATE OF {0}"),
    Word("locked_if_free", 1, "", "FOR UPDATE OF {0} SKIP LOCKED"),
    # PostgreSQL only: the value of that column in each row that was inserted.
    Word("returned", 1, "", "RETURNING {0}"),
    Word("kept_if_free", 1, "", "FOR KEY SHARE OF {0} SKIP LOCKED"),
)


def spelled(sql: str, dialect: str) -> str:
    """The statement as that dialect spells it."""
    for word in WORDS:
        sql = word.replaced(sql, dialect)
    return sql
