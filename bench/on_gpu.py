"""Runs the steps of bench/on_gpu_steps.py one after another, each part within its time; bench/on_gpu.sh starts it.

Rows are added to OUT/rows.jsonl one by one, and after every step the logs are packed into OUT/logs.tar.gz. Both files
are complete at any moment. A run that is stopped, by whatever means, continues with --resume. Only the standard library
is used: on a bare machine the program says what is missing, and runs the other steps.

    --part N           1: does it run? 2: is it right, and how fast? 3: why? Without it all three, each with its own
    time
    --resume [FOLDER]  continue with the rows in OUT, or with a copy of those in FOLDER; --again: also try what failed
    again
    --pack             fill build/carried for a machine without a network (bench/carried.py)
    --list             print the steps and what each needs
"""

from __future__ import annotations

import argparse
import fcntl
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from datetime import UTC, datetime
from itertools import filterfalse
from pathlib import Path
from types import FrameType

import carried
import on_gpu_steps
import rows
from on_gpu_steps import Step
from programs import PAUSE, Program

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = carried.FOLDER / "packages"
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LOST = 3  # the exit status of a program of rows that another process is to go on with
RESERVE = 4.0  # seconds of a part that are kept for packing
LEAST_SHARE = 8.0  # seconds: a program of rows is not started for less
MOST_OF_A_LOG = 1 << 20  # bytes that are packed
MOST_PACKED = 16 << 20
MOST_RESTARTS = 40
WORDS = ("name", "case", "op", "dtype", "data_format")  # the entries of a program's line that make up its key


class Stopped(Exception):
    """Raised when SIGTERM or SIGINT has come."""


class Machine:
    """The programs, packages and GPU of this machine."""

    def __init__(self) -> None:
        said = _output(["nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"])
        self.built = False  # whether convgpu._cuda has been built from these sources, and loads
        words = said.splitlines()[0].split(", ") if said else []
        self.gpu = dict(zip(("name", "driver_version", "compute_cap"), words))

    @property
    def arch(self) -> str:
        """As nvcc calls it: "90a" of compute capability 9.0; "" where that is not known."""
        major, _, minor = self.gpu.get("compute_cap", "").partition(".")
        return f"{major}{minor}" + "a" * (major == "9")

    def missing(self, steps: list[Step]) -> str | None:
        """A message about the packages and programs that steps need and this machine lacks; None if there are none."""
        lacking: dict[str, list[str]] = {}
        for step in steps:
            for name in [*filterfalse(_there, step.packages), *filterfalse(shutil.which, step.tools)]:
                lacking.setdefault(name, []).append(step.name)
        told = "; ".join(f"{name} ({', '.join(names)})" for name, names in lacking.items())
        return f"missing here, with the steps that are left out: {told}" if told else None

    def lacks(self, step: Step) -> str | None:
        """The reason why a step cannot run here, as half a sentence."""
        capability = self.gpu.get("compute_cap", "0.0")
        if step.hopper and capability != "9.0":
            return f"it is for compute capability 9.0, and this GPU has {capability}"
        packages = [package for package in step.packages if not _there(package)]
        tools = [tool for tool in step.tools if shutil.which(tool) is None]
        if packages or tools:
            return " and ".join(filter(None, (
                f"Python packages that are missing: {', '.join(packages)}" if packages else "",
                f"programs that are missing: {', '.join(tools)}" if tools else "")))
        if step.kernels and not self.built:
            return "convgpu._cuda is not built: --resume goes on with the build"
        return None


def _there(package: str) -> bool:
    if package == "ninja" and shutil.which(package):  # as a package or as a program of the system
        return True
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:
        return False


def _why_not_built() -> str:
    """Why convgpu._cuda does not load, the last line of what Python says; "" where it does."""
    done = subprocess.run([sys.executable, "-c", "import convgpu._cuda"], cwd=ROOT, capture_output=True, text=True)
    return "" if done.returncode == 0 else (done.stderr.splitlines() or [f"exit status {done.returncode}"])[-1][:300]


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


class Runner:
    """Runs steps and keeps their results."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.out = Path(os.environ.get("OUT") or "on-gpu").absolute()
        self.work = Path(os.environ.get("WORK") or ROOT / "build" / "gpu").absolute()
        self.logs = self.work / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.out.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self.work / "lock")
        self.file = self.out / "rows.jsonl"
        self.machine = Machine()
        self.commit = carried.commit()
        environment = {"date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), "commit": self.commit,
                       "gpu": self.machine.gpu, "versions": {"python": sys.version.split()[0]}}
        self._take_over(options.resume)
        if options.again:  # what fails from here on is not tried once more by a process that goes on
            os.environ[rows.BEFORE] = str(self.file.stat().st_size if self.file.exists() else 0)
        there = rows.done(self.file, self.commit) if options.again else {}
        self._failed_before = {key.partition(": ")[0] for key, result in there.items() if not result}
        self.rows = rows.Rows(self.file, environment, True, options.again)
        self.outcomes: dict[str, bool] = {}  # of each step that was to run, whether it is done and all is well

    def _take_over(self, resume: str | None) -> None:
        """Read the rows of an earlier run; without --resume, raise an error if there are rows of the parts to run."""
        if resume and not self.file.exists() and (Path(resume) / "rows.jsonl").exists():
            shutil.copyfile(Path(resume) / "rows.jsonl", self.file)
        if resume and not self.file.exists():
            self.say(f"--resume {resume}: no rows.jsonl is there, and none in {self.out}: all is measured")
        if resume is None:
            steps = {f"step: {step.name}" for part in self.options.parts for step in self.steps(part)}
            if steps & set(rows.done(self.file, self.commit)):
                raise SystemExit(f"on_gpu: {self.file} has rows of this part and commit: --resume goes on with them; "
                                 "to begin anew, name another folder by OUT")

    def steps(self, part: int) -> list[Step]:
        """The steps of a part, the most valuable first."""
        return on_gpu_steps.steps(part, self.file, self.work, self.options.tiny, self.options.again)

    @property
    def failed(self) -> bool:
        """Whether a step failed or was not done."""
        return not all(self.outcomes.values())

    # --- parts and steps

    def run(self, part: int, budget: float) -> None:
        """All steps of a part, as far as its seconds reach.

        Where they want more than there is, those with many short rows get a share of it, so that each has some rows;
        what is left then is shared out again.
        """
        ends = time.monotonic() + budget - RESERVE
        self.say(f"part {part}: {on_gpu_steps.TITLES[part]}, on {self.machine.gpu.get('name', 'no GPU')}, commit "
                 f"{self.commit or 'unknown'}, {datetime.now(UTC):%H:%M:%S} UTC, {budget:.0f} s")
        steps = self.steps(part)
        missing = self.machine.missing(steps)
        if missing:
            self.say(missing)
        last = [step for step in steps if step.always and not step.builds]  # they read what there is
        waiting = [step for step in steps if step not in last]
        until = ends - sum(step.seconds for step in last)
        while waiting:
            shares = ((step, self._share(waiting[i:], until)) for i, step in enumerate(waiting))
            waiting = [step for step, share in shares if self.step(step, until, share)]
        for step in last:
            self.step(step, ends)
        self.pack()

    def _share(self, waiting: list[Step], until: float) -> float:
        """Of the seconds that these steps want, the part that there is; at most 1."""
        wanted = sum(step.seconds for step in waiting if not self._is_there(step) and not self.machine.lacks(step))
        return min((until - time.monotonic()) / max(wanted, 1), 1)

    def _is_there(self, step: Step) -> bool:
        """Whether it was done before: with --again, and without a row that failed."""
        return f"step: {step.name}" in self.rows and not step.always and step.name not in self._failed_before

    def step(self, step: Step, ends: float, share: float = 1) -> bool:
        """One step; what it gave is kept whether it fails, hangs or is stopped. True: it goes on where time is left."""
        key = f"step: {step.name}"
        if step.instead and self.machine.built:
            return False
        if self._is_there(step):
            self.outcomes[step.name] = not self.rows.has_failed(key)
            self.say(f"there      {step.name}{' (it failed: --again)' * self.rows.has_failed(key)}")
            return False
        lacks = self.machine.lacks(step)
        if lacks:
            self.say(f"LEFT OUT   {step.name}: {lacks}")
            return False
        start = time.monotonic()
        seconds = max(step.seconds * share, LEAST_SHARE) if step.divided else step.seconds
        deadline = min(start + seconds, ends)
        if deadline - start < 1:
            self.outcomes[step.name] = False
            self.say(f"NO TIME    {step.name}: --resume goes on with it")
            return False
        if step.follow is not None:
            step.follow.unlink(missing_ok=True)  # the file may come from an earlier run with other sources
        status = self._each(step, deadline) if step.questions else self._one(step, deadline)
        seconds = time.monotonic() - start
        if step.builds:
            why = (_why_not_built() if status == 0 else f"exit status {status}" if status is not None
                   else "its seconds were not enough, and --resume goes on with it")
            self.machine.built = not why
            self.say(f"{'FAILED' if why else 'ok':10} {step.name} ({seconds:.0f} s): "
                     + (f"{why}; {_safe(step.name)}.log" if why else "it loads"))
        elif step.always:
            self.say(f"{'ok' if status == 0 else 'FAILED':10} {step.name} ({seconds:.0f} s): {_safe(step.name)}.log")
        elif status is None:
            self.say(f"NOT DONE   {step.name}: {seconds:.0f} s were not enough"
                     + ("; it goes on if time is left, or by --resume" if step.resumable or deadline == ends else ""))
            if not step.resumable and deadline < ends:  # it had all the time that it is worth
                self.rows.fail(key, f"longer than its {step.seconds:.0f} s")
        elif status == 0:
            self.rows.add(key, {"seconds": round(seconds, 1)})
            self.say(f"ok         {step.name} ({seconds:.0f} s)")
        else:
            self.rows.fail(key, f"exit status {status}")
            self.say(f"FAILED     {step.name} ({seconds:.0f} s): exit status {status}; {_safe(step.name)}.log")
        self.outcomes["build" if step.builds else step.name] = self.machine.built if step.builds else status == 0
        self.pack()
        return status is None and step.resumable and deadline < ends

    def _one(self, step: Step, deadline: float) -> int | None:
        """Run a program, and return its exit status, or None if its time was over. A program of rows is started again
        where it died. With shards there are several processes, each with its own part of the rows.
        """
        at_work = [self._start(step.command, step.name, step, shard) for shard in range(step.shards)]
        ended: list[int] = []
        restarts = 0
        try:
            while at_work and time.monotonic() < deadline:
                for program in [p for p in at_work if p.poll() is not None]:
                    at_work.remove(program)
                    status = program.poll() or 0
                    restarts += 1
                    if restarts <= MOST_RESTARTS and self._goes_on(step, program, status):
                        at_work.append(self._start(step.command, step.name, step, program.shard))
                    else:
                        ended.append(status)
                self._follow(step)
                time.sleep(PAUSE)
        finally:
            for program in at_work:
                program.ask()
            for program in at_work:
                program.end()
            self._follow(step)
        return None if at_work else max(ended, key=abs)

    def _goes_on(self, step: Step, program: Program, status: int) -> bool:
        """Whether another process must continue; if so, record the row at which the last process died as failed."""
        key = program.row()
        if not step.restarts or (status != LOST and (status >= 0 or not key)):
            return False
        if status == -signal.SIGALRM:
            self.rows.fail(key, "longer than the seconds of a row")
        elif status < 0:
            self.rows.fail(key, f"ended by {signal.Signals(-status).name}")
        return True

    def _each(self, step: Step, deadline: float) -> int | None:
        """Ask each question of a program in its own process; 0 if the answers to all questions agree."""
        if self._start(step.command, step.name, step).wait(deadline) != 0:
            return 1 if time.monotonic() < deadline else None
        names = _output([*step.questions, "--list"]).splitlines()
        for name in filter(None, map(str.strip, names)):
            key = f"{step.name}: {name}"
            if key in self.rows:
                continue
            limit = min(step.each, deadline - time.monotonic())
            if limit < 1:
                return None
            status = self._start([*step.questions, name], key, step).wait(time.monotonic() + limit)
            text = self._log(key).read_text(errors="replace")[-2000:]
            if status == 0:
                self.rows.add(key, {"agrees": True, "said": text})
            elif status is not None:
                self.rows.fail(key, f"differs: {text}" if status == 1 else f"exit status {status}: {text}")
            elif limit == step.each:
                self.rows.fail(key, f"no answer within {limit:.0f} s: {text}")
            else:
                return None
        failed = [key for key in self.rows if key.startswith(f"{step.name}: ") and self.rows.has_failed(key)]
        return int(bool(failed) or not names)

    def _start(self, command: list[str], log: str, step: Step, shard: int = 0) -> Program:
        """Start a program in the environment of its step."""
        current = self.work / f"current.{shard}"
        paths = [str(ROOT), str(ROOT / "bench"), os.environ.get("PYTHONPATH"), str(PACKAGES)]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1",
            "PATH": os.pathsep.join([os.environ["PATH"], str(PACKAGES / "bin")]),
            rows.CURRENT: str(current), rows.SHARD: f"{shard}/{step.shards}", **step.environment}
        if step.shards > 1:  # or the BLAS of each would start a thread for every core
            for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
                environment.setdefault(name, str(max((os.cpu_count() or 1) // step.shards, 1)))
        if step.builds and self.machine.arch:  # setup.py asks the driver, and builds for many where it cannot
            environment.setdefault("CONVGPU_ARCHS", self.machine.arch)
        if self.commit:
            environment["CONVGPU_COMMIT"] = self.commit
        return Program(command, ROOT, self._log(log + f".{shard}" * (step.shards > 1)), environment, self._lock,
                       current, shard)

    def _log(self, name: str) -> Path:
        return self.logs / f"{_safe(name)}.log"

    def _follow(self, step: Step) -> None:
        """Add the rows that a program writes to its own file."""
        if step.follow is None:
            return
        for line in rows.read(step.follow):
            key = f"{step.name}: " + " ".join(str(line[word]) for word in WORDS if word in line)
            if key not in self.rows:
                if line.get("ok", True):
                    self.rows.add(key, line)
                else:
                    self.rows.fail(key, str(line.get("error")))

    # --- what is kept

    def say(self, text: str) -> None:
        """Print a text on the terminal, and add it to the summary."""
        print(text, flush=True)
        with open(self.logs / "summary.txt", "a", encoding="utf-8") as file:
            file.write(text + "\n")

    def pack(self) -> None:
        """Pack all logs into one archive, which is replaced as a whole; of a long log only the end is kept."""
        partial = self.out / "logs.tar.gz.partial"
        most = MOST_OF_A_LOG
        while True:
            with tarfile.open(partial, "w:gz") as archive:
                for path in sorted(self.logs.iterdir()):
                    info = tarfile.TarInfo(f"logs/{path.name}")
                    with open(path, "rb") as file:
                        size = path.stat().st_size
                        file.seek(max(size - most, 0))
                        info.size, info.mtime = min(size, most), int(path.stat().st_mtime)
                        archive.addfile(info, file)
            if partial.stat().st_size <= MOST_PACKED:
                break
            most //= 4
        os.replace(partial, self.out / "logs.tar.gz")


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)[:80]


def _locked(path: Path) -> int:
    """A lock that this run and its programs hold until the last of them has ended."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for _ in range(100):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"on_gpu: another run is at work in this folder (it holds {path})")


def main() -> int:
    """Run the command line; 1 where a step failed or was left out, 128 plus the number of a signal that came."""
    parser = argparse.ArgumentParser(prog="on_gpu.sh", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--part", type=int, choices=(1, 2, 3), dest="parts", action="append", help="default: all three")
    parser.add_argument("--resume", nargs="?", const="", metavar="FOLDER", help="go on with the rows in OUT or FOLDER")
    parser.add_argument("--again", action="store_true", help="with --resume: try again what failed")
    parser.add_argument("--tiny", type=int, metavar="N", default=0,
                        help="a rehearsal: N rows of each table, with small sizes, and nothing of it is a result")
    parser.add_argument("--pack", action="store_true", help="make build/carried, and run nothing")
    parser.add_argument("--have", type=Path, metavar="FILE", help="with --pack: what `pip list` says on that machine")
    parser.add_argument("--python", default="3.12", metavar="X.Y", help="with --pack and --have: its Python")
    parser.add_argument("--list", action="store_true", help="name the steps, and run nothing")
    options = parser.parse_args()
    sys.path.append(str(PACKAGES))
    options.parts = options.parts or [1, 2, 3]
    if options.pack:
        return carried.pack(options.have, options.python)
    if options.list:
        print(on_gpu_steps.listing())
        return 0
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    try:
        budget = float(os.environ.get("BUDGET") or 240)
    except ValueError:
        print(f"on_gpu: BUDGET: expected seconds, got {os.environ['BUDGET']!r}", file=sys.stderr)
        return 2
    runner = Runner(options)
    if not runner.machine.gpu:
        print("on_gpu: nvidia-smi shows no NVIDIA GPU here", file=sys.stderr)
        return 2
    stopped: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        for other in STOPS:  # one is enough: what is measured is packed, undisturbed
            signal.signal(other, signal.SIG_IGN)
        stopped.append(number)
        raise Stopped

    for number in STOPS:
        signal.signal(number, stop)
    try:
        for part in options.parts:
            runner.run(part, budget)
    except Stopped:
        runner.say("stopped: --resume goes on")
        runner.pack()
        return 128 + stopped[0]
    return int(runner.failed)


if __name__ == "__main__":
    sys.exit(main())
