"""What attackers write where a name, an address or a body belongs. Small tables, of which the tests make their cases."""

import base64
import gzip
import json
from typing import Any

RIGHT_TO_LEFT = "\N{RIGHT-TO-LEFT OVERRIDE}"
NAMES = {
    "parent": "..",
    "path": "../../etc/passwd",
    "absolute": "/etc/passwd",
    "windows": "..\\..\\windows\\win.ini",
    "encoded": "%2e%2e%2f%2e%2e%2fetc",
    "twice-encoded": "%252e%252e%252fetc",
    "nul": "a\x00b",
    "newline": "a\nb: c",
    "return": "a\r\nSet-Cookie: x=1",
    "escape": "\x1b[2J\x1b]0;x\x07",
    "sql": "x'; DROP TABLE run; --",
    "sql-or": "' OR '1'='1",
    "like": "%",
    "template": "{{7*7}}${7*7}<%= 7*7 %>",
    "format": "%s%n{0.__class__}",
    "shell": "$(touch /tmp/owned)`id`;id|id",
    "script": "<script>alert(1)</script>",
    "all": "*",
    "topic": "a.#.*",
    "cyrillic": "d\N{CYRILLIC SMALL LETTER IE}fault",
    "fullwidth": "\N{FULLWIDTH LATIN SMALL LETTER D}efault",
    "right-to-left": f"de{RIGHT_TO_LEFT}tluaf",
    "zero-width": "def\N{ZERO WIDTH SPACE}ault",
    "combining": "e" + "\N{COMBINING ACUTE ACCENT}" * 300,
    "dotless": "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}nternal",
    "space": " default ",
    "long": "x" * 10_000,
    "emoji": "\N{FACE WITH COWBOY HAT}",
    "dash": "-rf",
    "device": "/dev/stdin",
}
"""None of them may be the name of anything."""

ADDRESSES = {
    "passwd": "file:///etc/passwd",
    "passwd-host": "file://localhost/etc/passwd",
    "passwd-one": "file:/etc/passwd",
    "passwd-upper": "FILE:///etc/passwd",
    "environ": "file:///proc/self/environ",
    "device": "file:///dev/zero",
    "plain": "/etc/passwd",
    "relative": "../../etc/passwd",
    "unc": "\\\\evil.example.org\\share\\x",
    "unc-slashes": "//evil.example.org/share/x",
    "data": "data:text/plain;base64,aGVsbG8=",
    "jar": "jar:http://evil.example.org/x.jar!/y",
    "gopher": "gopher://127.0.0.1:6379/_FLUSHALL",
    "dict": "dict://127.0.0.1:11211/stats",
    "ftp": "ftp://evil.example.org/x",
    "ldap": "ldap://evil.example.org/x",
    "javascript": "javascript:alert(1)",
    "metadata": "http://169.254.169.254/latest/meta-data/iam/",
    "metadata-6": "http://[fd00:ec2::254]/latest/meta-data/",
    "metadata-name": "http://metadata.google.internal/computeMetadata/v1/",
    "metadata-decimal": "http://2852039166/latest/meta-data/",
    "loopback": "http://127.0.0.1:5432/",
    "loopback-https": "https://127.0.0.1/",
    "loopback-6": "http://[::1]/",
    "loopback-mapped": "http://[::ffff:127.0.0.1]/",
    "loopback-decimal": "http://2130706433/",
    "loopback-octal": "http://0177.0.0.1/",
    "loopback-hex": "http://0x7f.0x0.0x0.0x1/",
    "loopback-short": "http://127.1/",
    "loopback-name": "https://localhost/",
    "loopback-dot": "https://localhost./",
    "nat64": "https://[64:ff9b::7f00:1]/",
    "6to4": "https://[2002:7f00:1::]/",
    "compatible": "https://[::127.0.0.1]/",
    "site-local": "https://[fec0::1]/",
    "link-local-zone": "https://[fe80::1%25eth0]/",
    "nothing": "http://0.0.0.0/",
    "broadcast": "http://255.255.255.255/",
    "multicast": "http://224.0.0.1/",
    "private": "https://10.0.0.1/x",
    "carrier": "https://100.64.0.1/x",
    "user": "https://good.example.org@127.0.0.1/x",
    "user-password": "https://user:password@good.example.org/x",
    "user-backslash": "https://good.example.org\\@127.0.0.1/x",
    "user-encoded": "https://good.example.org%40127.0.0.1/",
    "fragment": "https://127.0.0.1#@good.example.org/",
    "newline": "https://good.example.org/x\r\nHost: evil.example.org",
    "newline-host": "https://good.example.org\n.evil.example.org/",
    "nul": "https://good.example.org\x00.evil.example.org/",
    "tab": "htt\tps://127.0.0.1/",
    "idna": "https://\N{CIRCLED DIGIT ONE}\N{CIRCLED DIGIT TWO}7.0.0.1/",
    "full-stop": "https://127\N{IDEOGRAPHIC FULL STOP}0\N{IDEOGRAPHIC FULL STOP}0\N{IDEOGRAPHIC FULL STOP}1/",
    "bracket": "https://[::1/",
    "port": "https://good.example.org:99999/",
    "port-word": "https://good.example.org:5432x/",
    "no-host": "https:///x",
    "scheme": "https:",
    "empty": "",
    "long": "https://good.example.org/" + "x" * 100_000,
}
"""None of them leads anywhere: not in data, not in parameters, not for webhooks."""

ARTIFACTS = {
    "parent": "artifact://../../etc/passwd",
    "user": "artifact://user:password@model@prod",
    "host": "artifact://evil.example.org/x",
    "two": "artifact://model@prod@prod",
    "negative": "artifact://model@-1",
    "huge": "artifact://model@" + "9" * 400,
    "digit": "artifact://model@\N{SUPERSCRIPT TWO}",
    "latest": "artifact://model@0x1",
    "upper": "ARTIFACT://model",
    "newline": "artifact://model\n@prod",
    "nul": "artifact://model\x00@prod",
    "query": "artifact://model?version=1",
    "none": "artifact://",
    "workspace": "artifact://other/model@prod",
    "slash": "artifact://model@prod/../../x",
    "sql": "artifact://model@prod'--",
    "long": "artifact://" + "m" * 5000,
}
"""Names of artifacts that are none."""


def deep(levels: int, inner: str = "1") -> bytes:
    return ("[" * levels + inner + "]" * levels).encode()


def deep_map(levels: int) -> bytes:
    return ('{"a":' * levels + "1" + "}" * levels).encode()


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "nul": b"\x00",
    "null": b"null",
    "true": b"true",
    "number": b"1",
    "text": b'"x"',
    "list": b"[]",
    "nan": b"NaN",
    "infinity": b'{"a": -Infinity}',
    "cut": b'{"name": "x", ',
    "bytes": bytes(range(256)),
    "utf-16": '{"name": "x"}'.encode("utf-16"),
    "utf-7": b"+AHs-+AH0-",
    "mark": b"\xef\xbb\xbf{}",
    "deep": deep(100_000),
    "deep-cut": b"[" * 200_000,
    "deep-map": deep_map(50_000),
    "integer": b"9" * 100_000,
    "huge-float": b'{"a": 1e99999999}',
    "surrogate": b'{"name": "\\ud800"}',
    "surrogate-key": b'{"\\udfff": 1}',
    "twice": b'{"name": "a", "name": "../b"}',
    "prototype": b'{"__proto__": {"role": "admin"}, "constructor": {"prototype": {}}}',
    "class": b'{"__class__": "os.system", "py/object": "os.system", "!!python/object/apply:os.system": ["id"]}',
    "comment": b"{} // comment",
    "gzip": gzip.compress(b" " * 10_000_000, 9),
    "pickle": base64.b64decode("gASVFwAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOULg=="),
    "yaml": b"!!python/object/apply:os.system ['id']",
    "xml": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
    "zip": b"PK\x03\x04" + b"\x00" * 100,
    "tar": b"../../etc/passwd".ljust(512, b"\x00"),
}
"""Bodies that no route takes."""


def event(**fields: Any) -> bytes:
    """A CloudEvent in JSON, wrong by what is given."""
    return json.dumps({"specversion": "1.0", "id": "e", "source": "/evil", "type": "evil", **fields}).encode()
