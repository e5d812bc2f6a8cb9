"""The zygote: a fresh single-threaded interpreter that imports the user's module once and forks a guest per attempt.

It talks with the runner over one socket of messages: asked to fork, it hands over the guest's own socket and the reading end of
its output; it reaps guests, with all that is left of their process group, and tells how they ended. When that socket
closes, it kills every group it started and ends, so nothing outlives the runner.
"""

import ctypes
import faulthandler
import gc
import importlib
import io
import os
import select
import signal
import socket
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from penstock.contracts.states import FailureKind
from penstock.runners import guest
from penstock.runners.failures import from_exception, hidden_folders
from penstock.runners.frames import MESSAGE_BYTES, pack_message, unpack
from penstock.runners.hints import import_hint, missing_file_hint
from penstock.runners.huge_pages import gather_in_huge_pages
from penstock.runners.judgement import ThreadWatch, uses_openmp, verdict
from penstock.runners.warmth import warm_up
from penstock.sdk.context import guest_import

_PR_SET_PDEATHSIG = 1
_MANY_FORKS = 50
"""So many earn what gathering the memory costs: a tenth of a second after scikit-learn's import, for 3 ms less at each fork."""


class Zygote:
    """One zygote. `snapshot` is the folder that the user's modules are imported from; without a module it stays bare."""

    def __init__(self, control: socket.socket, snapshot: str, project: str) -> None:
        self._control = control
        self._snapshot = snapshot
        self._project = project
        self._guests: set[int] = set()
        self._forks = 0
        self._watch = ThreadWatch(snapshot + os.sep)
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._libc = ctypes.CDLL(None)

    def serve(self, module: str) -> None:
        """Imports, is judged, then forks on demand until the runner goes."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _heard_of_a_child)
        if self._snapshot:
            sys.path.insert(0, self._snapshot)
        self._die_with_parent(signal.SIGKILL)
        if module and not self._imported(module):
            return
        # From here on it notices by itself, and sees to its guests first.
        self._die_with_parent(0)
        warm_up(sys.modules.get(module))
        # Python 3.12 warns of native threads at a fork; they are judged here.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        gc.collect()
        gc.freeze()
        self._say(["ready", self._judged(module), uses_openmp()])
        try:
            self._loop()
        finally:
            for pid in list(self._guests):
                _kill_group(pid, signal.SIGKILL)

    def _imported(self, module: str) -> bool:
        try:
            with guest_import(module), self._watch.watching(), _uncollected():
                importlib.import_module(module)
        except BaseException as error:  # noqa: BLE001  # whatever the user's module raises is the user's to see
            hint = missing_file_hint(error, self._snapshot, self._project, {})
            kind = FailureKind.UNDECLARED if hint else FailureKind.ENVIRONMENT
            told = from_exception(error, kind, hint=hint or import_hint(error), hidden=hidden_folders(), shorten=self._snapshot)
            self._say(["failed", told])
            return False
        return True

    def _judged(self, module: str) -> str:
        reason = verdict(self._watch, {self._control.fileno()})
        return f"{module}: {reason}" if reason else ""

    def _loop(self) -> None:
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._wake_read:
                    os.read(self._wake_read, 4096)
                    self._reap()
                elif not self._command():
                    return

    def _command(self) -> bool:
        try:
            message = self._control.recv(MESSAGE_BYTES)
        except ConnectionError:
            return False
        if not message:
            return False
        match unpack(message):
            case ["fork", int(count)]:
                for _ in range(count):
                    self._fork()
            case ["kill", int(pid), int(number)] if pid in self._guests:
                _kill_group(pid, signal.Signals(number))
            case _:
                pass
        return True

    def _fork(self) -> None:
        self._forks += 1
        if self._forks == _MANY_FORKS:
            gather_in_huge_pages()
        ours, theirs = socket.socketpair()
        output_read, output_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            ours.close()
            os.close(output_read)
            self._become_guest(theirs, output_write)
        theirs.close()
        os.close(output_write)
        # The child does the same; whoever is first, a kill finds the group.
        _own_group(pid)
        self._guests.add(pid)
        self._say(["child", pid], [ours.fileno(), output_read])
        ours.close()
        os.close(output_read)

    def _become_guest(self, stream: socket.socket, output: int) -> NoReturn:
        try:
            self._die_with_parent(signal.SIGKILL)
            _own_group(0)
            signal.set_wakeup_fd(-1)
            os.dup2(output, 1)
            os.dup2(output, 2)
            for descriptor in (output, self._control.detach(), self._wake_read, self._wake_write):
                os.close(descriptor)
            guest.serve(stream, self._project)
        finally:
            os._exit(0)

    def _die_with_parent(self, number: int) -> None:
        if sys.platform == "linux":
            self._libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)

    def _reap(self) -> None:
        while self._guests:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            # While its leader is a zombie the group's number can't be another's.
            _kill_group(ended.si_pid, signal.SIGKILL)
            pid, status, usage = os.wait4(ended.si_pid, 0)
            self._guests.discard(pid)
            self._say(["exit", pid, status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024])

    def _say(self, message: list[Any], descriptors: list[int] | None = None) -> None:
        try:
            socket.send_fds(self._control, [pack_message(message)], descriptors or [])
        except ConnectionError:
            # The runner is gone; the loop sees the closed socket.
            return


@contextmanager
def _uncollected() -> Generator[None]:
    """What an import makes stays: looking through it for garbage is an eighth of its time. What a module says of collecting holds."""
    before = gc.get_threshold()
    gc.set_threshold(0)
    try:
        yield
    finally:
        if gc.get_threshold()[0] == 0:
            gc.set_threshold(*before)


def _heard_of_a_child(number: int, frame: FrameType | None) -> None:
    """What counts is the byte that wakes the loop up."""


def _own_group(pid: int) -> None:
    try:
        os.setpgid(pid, 0)
    except OSError:
        # It has made its group itself, or has ended.
        return


def _kill_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except OSError:
        return


def main() -> None:
    """`python -c "..." <control descriptor> <snapshot> <module> <project>`: started by the process launcher only."""
    descriptor, snapshot, module, project = sys.argv[1:5]
    sys.argv[1:] = []
    control = socket.socket(fileno=int(descriptor))
    control.set_inheritable(False)
    faulthandler.enable(file=2)
    for text in (sys.stdout, sys.stderr):
        # Whoever follows a log sees each line when it is printed.
        if isinstance(text, io.TextIOWrapper):
            text.reconfigure(line_buffering=True, encoding="utf-8", errors="backslashreplace")
    Zygote(control, snapshot, project).serve(module)
