"""Memory that was gathered in huge pages is the same memory, for the process and for its forks."""

import subprocess
import sys

_PROGRAM = """
import hashlib, os
from penstock.runners.huge_pages import gather_in_huge_pages
pieces = [bytes([number % 256]) * 5000 for number in range(4000)]
def digest():
    return hashlib.sha256(b"".join(pieces)).hexdigest()
before = digest()
gather_in_huge_pages()
pid = os.fork()
if pid == 0:
    pieces[7] = b"the child's own"
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
pieces.append(b"more")
assert pieces.pop() == b"more"
print(before == digest())
"""


def test_memory_keeps_its_contents_when_it_is_gathered_and_forked() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.split() == ["True"]
