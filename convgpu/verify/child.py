"""The walk over all problems in a child process: a call that kills the process is a finding, and the walk goes on.

The child tells its parent which problem it begins and what it found. When the child dies, the parent knows at which
problem, and starts another child at the next one. There is one child at a time, and a new one only after a death.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

from .checks import Checked
from .report import Finding, Report
from .selection import Item, on_its_device

CAN_FORK = hasattr(os, "fork")
Place = tuple[int, int]  # the index of an item, and the index of a problem among the item's problems


class Walk:
    """Runs items on a backend, and fills in a report."""

    def __init__(self, run: Any, report: Report, items: Sequence[Item]):
        self.run, self.report, self.items = run, report, items

    def here(self, advance: Callable[[], object]) -> None:
        """Run all items in this process, without protected pages: on a GPU, and on systems without fork."""
        for number in range(len(self.items)):
            for _, checked in self._problems(number, -1):
                checked.numbers()
                self.report.add(checked.found)
            advance()

    def in_children(self, advance: Callable[[], object]) -> None:
        """Run all items in child processes, with inputs against protected pages."""
        after: Place | None = (0, -1)
        while after is not None:
            after = self._one_child(after, advance)

    def _problems(self, number: int, after: int) -> Iterator[tuple[Place, Checked]]:
        """The problems of an item after the problem number `after`; none where the backend lacks the family.
        """
        item = self.items[number]
        with on_its_device(self.run, self.report.backend, item):
            for index, problem in item.problems(self.report.quick):
                if not hasattr(self.run, problem.op):
                    if item.family not in self.report.absent:
                        self.report.absent.append(item.family)
                    return
                if index > after:
                    found = Finding(item.family, item.case.name, problem.op, item.label(problem), item.data_format,
                                    problem.op)
                    checked = Checked(self.run, self.report.backend, problem, found)
                    checked.plan()
                    yield (number, index), checked

    def _say_all(self, after: Place, say: Callable[[Any], None]) -> None:
        """The work of the child: it runs everything after a place and says what it found."""
        for number in range(after[0], len(self.items)):
            for place, checked in self._problems(number, after[1] if number == after[0] else -1):
                say(("begin", place, checked.found, None))
                checked.numbers()
                if not checked.found.failures:
                    for placement in checked.placements:
                        say(("begin", place, checked.found, placement))
                        checked.beside_pages(*placement)
                    checked.found.reads = True
                say(("found", place, checked.found, None))
            say(("absent", list(self.report.absent)))
            say(("advance",))

    def _one_child(self, after: Place, advance: Callable[[], object]) -> Place | None:
        """Run a child. If it dies, add that to the report and return the place where it died."""
        begun: tuple[Place, Finding, Any] | None = None
        with Child(lambda say: self._say_all(after, say)) as child:
            for message in child.messages():
                if message[0] == "begin":
                    begun = message[1:]
                elif message[0] == "found":
                    self.report.add(message[2])
                    begun = None
                elif message[0] == "absent":
                    self.report.absent[:] = message[1]
                else:
                    advance()
            died = child.wait()
        if died is None:
            return None
        if begun is None:
            raise RuntimeError(f"verify: the child process died of {died} between two cases")
        place, found, placement = begun
        if placement is None:
            found.failures.append(f"the process dies of {died}")
        else:
            found.reads = False
            found.failures.append(self._culprit(place, placement[0], placement[1], died))
        self.report.add(found)
        return place

    def _culprit(self, place: Place, side: str, chosen: list[int], died: str) -> str:
        """Find the input at fault: each input in turn lies alone against a protected page, in a process of its own."""
        guilty = [name for index in chosen if (name := self._dies_alone(place, side, index)) is not None]
        where = "beginning" if side == "beginning" else "end"
        if guilty:
            return f"reads past the {where} of {' and '.join(guilty)}: the process dies of {died}"
        return f"the process dies of {died} with its inputs against a protected page at their {where}, with none alone"

    def _dies_alone(self, place: Place, side: str, index: int) -> str | None:
        """The name of the input if the call dies with only this input against a page; None if it does not die."""
        number, problem = place
        for found, checked in self._problems(number, problem - 1):
            assert found == place
            with Child(lambda say, checked=checked: checked.beside_pages(side, [index])) as child:  # type: ignore[misc]
                list(child.messages())
                return checked.name_of(index) if child.wait() is not None else None
        raise AssertionError(place)


class Child:
    """A forked process that runs body(say), where say(message) sends something picklable to its parent."""

    def __init__(self, body: Callable[[Callable[[Any], None]], None]):
        receiver, sender = multiprocessing.Pipe(duplex=False)
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # fork beside threads is deprecated; threads of this library do not exist in the child
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            receiver.close()
            _be_a_child(body, sender)
        sender.close()
        self._receiver, self._ended = receiver, False

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exc: object) -> None:
        if not self._ended:  # the parent was interrupted, and nobody waits for the child any more
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        self._receiver.close()

    def messages(self) -> Iterator[Any]:
        """The messages of the child, until it ends."""
        while True:
            try:
                message = self._receiver.recv()
            except EOFError:
                return
            if message[0] == "error":
                raise RuntimeError(f"verify: the child process failed\n{message[1]}")
            yield message

    def wait(self) -> str | None:
        """The name of the signal that killed the child; None where it ended by itself."""
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        self._ended = True
        if status < 0:
            return signal.Signals(-status).name
        return f"exit status {status}" if status else None


def _be_a_child(body: Callable[[Callable[[Any], None]], None], sender: Connection) -> None:
    """Run the body and never return. Ctrl-C is left to the parent, and a death writes no core dump and no traceback."""
    status = 1
    try:
        import resource

        signal.signal(signal.SIGINT, signal.SIG_IGN)
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        body(sender.send)
        status = 0
    except BrokenPipeError:
        status = 0  # the parent has ended
    except BaseException:
        sender.send(("error", traceback.format_exc()))
    finally:
        os._exit(status)
