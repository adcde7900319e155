"""Compare todobatch, pyperf and asv on known differences: ``python -m benchmarks.peers.pairs``

The pairs have no difference, or 2, 5 or 10 % more work in B. There are twenty of each: four kinds
of work, five times. Three tools get them:

* ``todobatch versus A B``;
* pyperf with its default settings, A and then B, and ``pyperf compare_to``;
* ``asv continuous`` on a repository of two commits, with B's work in the second. ``asv compare``
  then judges the samples with the factor 1.01, because asv's default of 1.1 hides differences
  below 10 %.

All run on one machine and one interpreter. todobatch and pyperf alternate pair by pair in random
order; a fifth of asv's pairs follows each fifth of the others. For each tool the table gives:

* false alarms: pairs without a difference that it called faster or slower;
* found: differences for which it called B slower;
* called faster: differences for which it called B faster, which is wrong;
* the wall time of a pair.

Each answer is written to a file at once (``--output``), so an interrupted run can be resumed. A
whole run takes about an hour.
"""

import argparse
import json
import math
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from scipy import stats

from benchmarks.peers.known import EFFECTS, WORKS
from todobatch.lab.interpreters import Interpreter, find, worker_environment
from todobatch.lab.interpreters.support import support_folder
from todobatch.lab.stats.estimate import ratio_of

ROOT = Path(__file__).parents[2]
PYPERF_REQUIREMENTS = Path(__file__).with_name("pyperf-requirements.txt")
INTERPRETER = "3.14"
REPEATS = 5
TIMEOUT_S = 600.0
ASV_TIMEOUT_S = 3600.0
ASV_FACTORS = {"asv continuous": "1.1", "asv compare, factor 1.01": "1.01"}
TOOLS = ("todobatch", "pyperf", "asv")


@dataclass(frozen=True)
class Pair:
    """Two workloads: the second has `effect` percent more work."""

    work: str
    effect: int
    repeat: int


@dataclass(frozen=True)
class Answer:
    """A tool's verdict on B: 'slower', 'faster' or 'same' (which includes inconclusive)."""

    tool: str
    work: str
    effect: int
    repeat: int
    said: str
    wall_s: float
    settings: str = ""
    """The pyperf options that replaced its defaults."""


def main() -> int:
    """Ask every tool about every pair, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument(
        "--repeats", type=int, default=REPEATS, help="number of times that each pair is measured"
    )
    parser.add_argument("--works", default=",".join(WORKS), help="kinds of work, comma-separated")
    parser.add_argument("--effects", default=",".join(map(str, EFFECTS)), help="percent")
    parser.add_argument("--tools", default=",".join(TOOLS), help="comma-separated")
    parser.add_argument(
        "--pyperf-options", default="", help="options that replace pyperf's defaults"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the random order")
    parser.add_argument("--output", type=Path, default=Path("build/pairs.jsonl"))
    parser.add_argument(
        "--table", action="store_true", help="print the table of stored answers, measure nothing"
    )
    options = parser.parse_args()
    pairs = [
        Pair(work, int(effect), repeat)
        for repeat in range(options.repeats)
        for work in options.works.split(",")
        for effect in options.effects.split(",")
    ]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    if not options.table:
        for answer in _ask(pairs, options):
            with options.output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(answer)) + "\n")
    print(table(_kept(options.output)))
    return 0


def _kept(path: Path) -> list[Answer]:
    if not path.exists():
        return []
    return [Answer(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _ask(pairs: Sequence[Pair], options: argparse.Namespace) -> Iterator[Answer]:
    earlier = _kept(options.output)
    if any(each.settings != options.pyperf_options for each in earlier):
        raise SystemExit(
            f"pairs.py: {options.output} has answers for other --pyperf-options; "
            "name another --output"
        )
    kept = {(each.tool, each.work, each.effect, each.repeat) for each in earlier}
    interpreter = find(INTERPRETER)
    tools = options.tools.split(",")
    askers: dict[str, Callable[[Pair], str]] = {
        "todobatch": ask_todobatch,
        "pyperf": lambda pair: ask_pyperf(pair, interpreter, options.pyperf_options.split()),
    }
    for repeat in sorted({pair.repeat for pair in pairs}):
        some = [pair for pair in pairs if pair.repeat == repeat]
        lot = random.Random(f"{options.seed}/{repeat}")
        lot.shuffle(some)
        for pair in some:
            order = [tool for tool in askers if tool in tools]
            lot.shuffle(order)
            for tool in order:
                if (tool, pair.work, pair.effect, pair.repeat) in kept:
                    continue
                begun = time.monotonic()
                verdict = askers[tool](pair)
                wall_s = time.monotonic() - begun
                print(
                    f"{tool}: {pair.work} +{pair.effect} %: {verdict}, {wall_s:.1f} s", flush=True
                )
                yield Answer(
                    tool,
                    pair.work,
                    pair.effect,
                    pair.repeat,
                    verdict,
                    wall_s,
                    options.pyperf_options,
                )
        lacking = [
            pair
            for pair in some
            if any((t, pair.work, pair.effect, pair.repeat) not in kept for t in ASV_FACTORS)
        ]
        if "asv" in tools and lacking:
            for answer in ask_asv(lacking, interpreter, options.pyperf_options):
                if (answer.tool, answer.work, answer.effect, answer.repeat) not in kept:
                    yield answer


def ask_todobatch(pair: Pair) -> str:
    """Run ``todobatch versus`` with its defaults."""
    names = [f"benchmarks.peers.known:{pair.work}_{effect}" for effect in (0, pair.effect)]
    command = [sys.executable, "-m", "todobatch", "versus", *names]
    command += ["--interpreters", INTERPRETER, "--format", "json"]
    verdict = json.loads(_output(command))["verdict"]
    return str(verdict) if verdict in {"slower", "faster"} else "same"


# A and B have the same name, so that compare_to pairs them.
_PYPERF = """
import sys
import pyperf
from benchmarks.peers.known import call

runner = pyperf.Runner(program_args=(sys.argv[0], *sys.argv[1:3]))
work, effect = sys.argv.pop(1), int(sys.argv.pop(1))
runner.bench_func("work", call, work, effect)
"""


def ask_pyperf(pair: Pair, interpreter: Interpreter, options: Sequence[str]) -> str:
    """Run pyperf on A and on B with its defaults (20 processes each), then ``compare_to``."""
    env = worker_environment(interpreter)
    packages = support_folder(interpreter, PYPERF_REQUIREMENTS)
    env["PYTHONPATH"] = os.pathsep.join([env["PYTHONPATH"], str(packages), str(ROOT)])
    python = str(interpreter.executable)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "work.py"
        script.write_text(_PYPERF)
        files = []
        for side, effect in (("a", 0), ("b", pair.effect)):
            files.append(f"{folder}/{side}.json")
            command = [python, str(script), pair.work, str(effect), *options, "--quiet"]
            _output([*command, "--inherit-environ", "PYTHONPATH", "-o", files[-1]], env=env)
        output = _output([python, "-m", "pyperf", "compare_to", *files], env=env)
    return pyperf_verdict(output)


def pyperf_verdict(output: str) -> str:
    """Read the verdict that ``pyperf compare_to`` printed for one benchmark."""
    if found := re.search(r"\d (slower|faster)|x (slower|faster)", output):
        return found[1] or found[2]
    if "not significant" in output.lower():
        return "same"
    raise SystemExit(f"pairs.py: pyperf compare_to printed something unknown:\n{output}")


_ASV_BENCHMARK = """
import knownwork

PAIRS = {pairs!r}


class Work:
    params = PAIRS
    param_names = ["pair"]

    def time_work(self, pair):
        knownwork.call(*knownwork.sides(pair))
"""


def ask_asv(pairs: Sequence[Pair], interpreter: Interpreter, settings: str) -> Iterator[Answer]:
    """Run ``asv continuous`` on two commits that differ in the work of every pair."""
    names = [f"{pair.work}/{pair.effect}" for pair in pairs]
    with (
        tempfile.TemporaryDirectory() as folder,
        _asv_project(Path(folder), names, interpreter) as (
            asv,
            env,
        ),
    ):
        # asv makes its environment before the clock starts, because a real project has one already.
        _output([*asv, "setup"], cwd=folder, env=env, timeout=ASV_TIMEOUT_S, codes=(0, 1))
        begun = time.monotonic()
        continuous = [*asv, "continuous", "a", "b", "--show-stderr"]
        _output(continuous, cwd=folder, env=env, timeout=ASV_TIMEOUT_S, codes=(0, 1))
        wall_s = (time.monotonic() - begun) / len(pairs)
        for tool, factor in ASV_FACTORS.items():
            output = _output([*asv, "compare", "a", "b", "--factor", factor], cwd=folder, env=env)
            for pair, name in zip(pairs, names, strict=True):
                verdict = asv_verdict(output, name)
                print(
                    f"{tool}: {pair.work} +{pair.effect} %: {verdict}, {wall_s:.1f} s", flush=True
                )
                yield Answer(tool, pair.work, pair.effect, pair.repeat, verdict, wall_s, settings)


def asv_verdict(output: str, name: str) -> str:
    """Read the verdict from a line of ``asv compare``.

    Such a line is ``| + | 1.00±0.01ms | 1.10±0.02ms | 1.10 | bench.Work…('json/10') |``. ``+`` is
    slower and ``-`` faster; ``~`` or nothing is not significant or below the factor.
    """
    for line in output.splitlines():
        if f"'{name}'" in line:
            mark = line.split("|")[1].strip()
            return {"+": "slower", "-": "faster"}.get(mark, "same")
    raise SystemExit(f"pairs.py: asv compare does not name {name}:\n{output}")


@contextmanager
def _asv_project(
    folder: Path, names: Sequence[str], interpreter: Interpreter
) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Make a repository with two commits; yield the command that runs asv there, and its env."""
    known = (ROOT / "benchmarks/peers/known.py").read_text()
    sides = "\n\ndef sides(pair):\n    work, effect = pair.split('/')\n    return work, "
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks/__init__.py").touch()
    (folder / "benchmarks/bench.py").write_text(_ASV_BENCHMARK.format(pairs=list(names)))
    copy = (
        "import shutil, sysconfig; "
        "shutil.copy(r'{build_dir}/knownwork.py', sysconfig.get_path('purelib'))"
    )
    config = {
        "version": 1,
        "project": "known",
        "repo": ".",
        "branches": ["main"],
        "environment_type": "virtualenv",
        "pythons": [INTERPRETER],
        "matrix": {"req": {"asv_runner": ["0.3.2"]}},
        "build_command": [],
        "install_command": [f'python -c "{copy}"'],
        "uninstall_command": [],
    }
    (folder / "asv.conf.json").write_text(json.dumps(config))
    git = ["git", "-c", "user.name=known", "-c", "user.email=known@localhost"]
    _output([*git, "init", "--quiet", "--initial-branch", "main"], cwd=folder)
    for tag, effect in (("a", "0"), ("b", "int(effect)")):
        (folder / "knownwork.py").write_text(known + sides + effect + "\n")
        _output([*git, "add", "--all"], cwd=folder)
        _output([*git, "commit", "--quiet", "-m", tag], cwd=folder)
        _output([*git, "tag", tag], cwd=folder)
    on_path = folder / "path"
    on_path.mkdir()
    (on_path / f"python{INTERPRETER}").symlink_to(interpreter.executable)
    env = {**os.environ, "PATH": f"{on_path}{os.pathsep}{os.environ['PATH']}"}
    env["HOME"] = str(folder)  # asv stores its description of the machine there
    asv = [sys.executable, "-m", "asv"]
    _output([*asv, "machine", "--yes"], cwd=folder, env=env)
    yield asv, env
    shutil.rmtree(folder / "env", ignore_errors=True)


def _output(
    command: Sequence[str],
    *,
    cwd: Path | str = ROOT,
    env: dict[str, str] | None = None,
    timeout: float = TIMEOUT_S,
    codes: Sequence[int] = (0,),
) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=env, timeout=timeout, capture_output=True, text=True, check=False
    )
    if done.returncode not in codes:
        raise SystemExit(
            f"pairs.py: {' '.join(command[:4])} … ended with code {done.returncode}:\n"
            f"{(done.stdout + done.stderr)[-2000:]}"
        )
    return done.stdout


def table(answers: Sequence[Answer]) -> str:
    """Format the answers as a Markdown table, with the ratios of the tools' times."""
    tools = list(dict.fromkeys(each.tool for each in answers))
    effects = sorted({each.effect for each in answers})
    heads = ["A/A false alarms" if not effect else f"+{effect} % found" for effect in effects]
    lines = [
        f"| tool | {' | '.join(heads)} | called faster | s a pair |",
        f"|---|{'---:|' * (len(effects) + 2)}",
    ]
    for tool in tools:
        mine = [each for each in answers if each.tool == tool]
        cells = [_share([each for each in mine if each.effect == effect]) for effect in effects]
        wrong = sum(each.effect > 0 and each.said == "faster" for each in mine)
        seconds = statistics.fmean(each.wall_s for each in mine)
        lines.append(f"| {tool} | {' | '.join(cells)} | {wrong} | {seconds:.1f} |")
    return "\n".join([*lines, *_times(answers)])


def _share(answers: Sequence[Answer]) -> str:
    """Format as ``19 of 20 [75, 100 %]``, with the 95 % interval of Clopper and Pearson (1934)."""
    called = {"slower", "faster"} if answers and not answers[0].effect else {"slower"}
    hits, n = sum(each.said in called for each in answers), len(answers)
    interval = stats.binomtest(hits, n).proportion_ci()
    return f"{hits} of {n} [{100 * interval.low:.0f}, {100 * interval.high:.0f} %]"


def _times(answers: Sequence[Answer]) -> list[str]:
    """Return lines with each peer's time ÷ todobatch's, paired by repeat."""
    took: dict[str, dict[int, float]] = {}
    for each in answers:
        mine = took.setdefault(each.tool, {})
        mine[each.repeat] = mine.get(each.repeat, 0.0) + each.wall_s
    ours = took.pop("todobatch", {})
    lines = [""]
    for tool, theirs in took.items():
        if common := sorted(ours.keys() & theirs.keys()):
            ratio = ratio_of([math.log(theirs[repeat] / ours[repeat]) for repeat in common])
            lines.append(
                f"{tool} takes {ratio.estimate:.2f} times [{ratio.low:.2f}, {ratio.high:.2f}] as "
                "long as todobatch for the same pairs."
            )
    return lines


if __name__ == "__main__":
    sys.exit(main())
