"""`todobatch doctor`: made-up machines with known troubles, and the real one without a name."""

import getpass
import json
import math
import os
import random
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from tests.conftest import COMMAND, RunTodobatch
from tests.lab import made_up
from todobatch.cli.app import app
from todobatch.cli.views import show
from todobatch.errors import InterpreterMissingError, MeasurementError
from todobatch.lab.doctor import checks as doctor
from todobatch.lab.doctor import diagnosis, noise, together
from todobatch.lab.doctor.checks import UNTOLD, Facts, Finding, Snapshot
from todobatch.lab.doctor.noise import Pair
from todobatch.lab.doctor.together import Together
from todobatch.lab.interpreters import Interpreter
from todobatch.lab.measure.sample import Sampler, Slot
from todobatch.lab.store import machine
from todobatch.lab.store.folder import load_run
from todobatch.lab.store.schema import Sample, WorkloadShape
from todobatch.runtime import RuntimeFacts

GOLDEN = Path(__file__).parents[1] / "store" / "golden" / "schema-1"


def python(spec: str, **changes: Any) -> Interpreter:
    facts = {**made_up.FACTS, "optimized_build": True, "lto_build": True, **changes}
    return Interpreter(spec, Path(f"python{spec}"), cast(RuntimeFacts, facts), "cache")


START = Snapshot(
    at=100.0,
    load=0.05,
    pressure=0.0,
    ticks=1_000,
    stolen=10,
    throttled=0,
    swapped=7,
    overheated=0,
)
QUIET = Facts(
    before=START,
    after=replace(START, at=110.0, ticks=5_000),
    cpus=8,
    cpus_available=8,
    virtualised=None,
    packing="",
    governors=("performance",),
    turbo=False,
    quota=math.inf,
    swap_used=0,
    hottest_c=45.0,
    on_battery=False,
    interpreters=(python("3.14"), python("3.14t")),
)
MUTE = Snapshot(0.0, None, None, None, None, None, None, None)
UNKNOWN = Facts(
    before=MUTE,
    after=MUTE,
    cpus=None,
    cpus_available=8,
    virtualised=None,
    packing=None,
    governors=None,
    turbo=None,
    quota=None,
    swap_used=None,
    hottest_c=None,
    on_battery=None,
    interpreters=(python("3.14"), python("3.14t")),
)


def after(**changes: Any) -> Facts:
    return replace(QUIET, after=replace(QUIET.after, **changes))


def before(**changes: Any) -> Facts:
    return replace(QUIET, before=replace(QUIET.before, **changes))


def found(facts: Facts, name: str) -> Finding:
    (one,) = [each for each in doctor.examine(facts) if each.name == name]
    return one


# Checks -------------------------------------------------------------------------------------------


def test_a_quiet_machine_of_its_own_has_nothing_to_say_against_it() -> None:
    assert [each for each in doctor.examine(QUIET) if each.severity != "ok"] == []


TROUBLES = [
    ("load of others", before(load=3.0), "warning", "load average 3.00 on 8 CPUs"),
    ("load of others", before(pressure=0.4), "warning", "40 % of the last 10 s"),
    ("frequency scaling", replace(QUIET, governors=("powersave",)), "warning", "powersave"),
    (
        "frequency scaling",
        replace(QUIET, governors=("performance", "schedutil")),
        "warning",
        "performance, schedutil",
    ),
    ("turbo", replace(QUIET, turbo=True), "note", "on"),
    ("steal time", after(stolen=210), "warning", "5.0 % of CPU time in 10.0 s"),
    ("CPU quota", replace(QUIET, quota=1.5), "warning", "1.5 CPUs, and 8 CPUs to run on"),
    ("CPU quota", after(throttled=3), "warning", "it stopped this group 3 times"),
    ("CPUs", replace(QUIET, cpus_available=1), "warning", "only one"),
    ("CPUs", replace(QUIET, cpus_available=2), "note", "two"),
    ("affinity", replace(QUIET, cpus_available=4), "note", "4 of the machine's 8 CPUs"),
    ("vCPU packing", replace(QUIET, packing="15"), "warning", "sched_vcpu_pack=15"),
    ("swap", after(swapped=99), "warning", "92 pages"),
    ("swap", replace(QUIET, swap_used=5_000_000), "note", "5.00 MB in use"),
    ("thermal throttling", after(overheated=2), "warning", "slowed down 2 times"),
    ("thermal throttling", replace(QUIET, hottest_c=95.0), "warning", "95 °C"),
    (
        "thermal throttling",
        replace(QUIET, before=replace(START, overheated=4), after=replace(START, overheated=4)),
        "note",
        "4 times since boot",
    ),
    ("virtualisation", replace(QUIET, virtualised="QEMU"), "note", "QEMU"),
    ("virtualisation", replace(QUIET, virtualised="container"), "note", "a container"),
    ("power", replace(QUIET, on_battery=True), "warning", "battery"),
    (
        "builds",
        replace(QUIET, interpreters=(python("3.14", debug_build=True), python("3.14t"))),
        "warning",
        "debug builds: 3.14",
    ),
    (
        "builds",
        replace(QUIET, interpreters=(python("3.14"), python("3.14t", optimized_build=False))),
        "warning",
        "not built alike: profile-guided optimisation: yes (3.14), no (3.14t)",
    ),
    (
        "builds",
        replace(QUIET, interpreters=(python("3.14", optimized_build=False),)),
        "note",
        "without profile-guided optimisation: 3.14",
    ),
    (
        "builds",
        replace(QUIET, interpreters=(python("3.14"),), missing=("3.14t",)),
        "warning",
        "not here: 3.14t",
    ),
    (
        "builds",
        replace(QUIET, interpreters=(), missing=("3.14", "3.14t")),
        "warning",
        "not here: 3.14, 3.14t",
    ),
]


@pytest.mark.parametrize(("name", "facts", "severity", "seen"), TROUBLES)
def test_a_trouble_is_found_with_its_effect_and_a_remedy(
    name: str, facts: Facts, severity: str, seen: str
) -> None:
    finding = found(facts, name)
    assert finding.severity == severity
    assert seen in finding.seen
    assert finding.effect.endswith(".")
    assert finding.remedy
    others = [each for each in doctor.examine(facts) if each.name != name]
    assert [each.name for each in others if each.severity == "warning"] == []


def test_every_check_has_a_made_up_trouble() -> None:
    told = {name for name, *_ in TROUBLES}
    assert told == {each.name for each in doctor.examine(QUIET)}


def test_what_the_system_does_not_tell_is_neither_good_nor_bad() -> None:
    findings = {each.name: each for each in doctor.examine(UNKNOWN)}
    untold = {name for name, each in findings.items() if each.seen == UNTOLD}
    # These are known of this process and its interpreters on any system.
    assert set(findings) - untold == {"CPUs", "virtualisation", "builds"}
    assert {findings[name].severity for name in untold} == {"note"}


def test_a_hypervisor_that_never_reported_steal_time_is_not_called_free_of_it() -> None:
    silent = replace(START, stolen=0)
    facts = replace(QUIET, virtualised="QEMU", before=silent, after=replace(silent, ticks=9_000))
    assert "may keep it to itself" in found(facts, "steal time").seen


def test_a_counter_without_time_between_its_readings_tells_nothing() -> None:
    assert found(replace(QUIET, after=QUIET.before), "steal time").seen == UNTOLD


def test_missing_interpreters_come_with_the_command_that_gets_them() -> None:
    facts = replace(QUIET, interpreters=(), missing=("3.14", "3.14t"))
    assert found(facts, "builds").remedy == "todobatch interpreters install 3.14 3.14t"


def test_an_interpreter_named_by_its_path_leaves_no_folder_in_a_finding() -> None:
    mine = python("/home/me/plans/bin/python3.14", optimized_build=False)
    for others in ((), (python("3.14t"),)):
        finding = found(replace(QUIET, interpreters=(mine, *others)), "builds")
        assert "/home" not in json.dumps(doctor.stored([finding]))


# Reading ------------------------------------------------------------------------------------------

DESCRIBED = {
    "cpus": 4,
    "cpus_available": 4,
    "virtualised": None,
    "vcpu_packing": None,
    "turbo": None,
}
FILES = {
    "proc/stat": "cpu  100 0 50 800 20 0 5 25 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n",
    "proc/loadavg": "0.52 0.40 0.30 1/100 4242\n",
    "proc/pressure/cpu": "some avg10=24.50 avg60=1.00 avg300=0.00 total=1\nfull avg10=0.00\n",
    "proc/vmstat": "pgpgin 5\npswpin 3\npswpout 4\n",
    "proc/meminfo": "MemTotal: 9 kB\nSwapTotal:   100 kB\nSwapFree:     60 kB\n",
    "proc/cmdline": "quiet\n",
    "proc/self/cgroup": "0::/a/b\n",
    "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
    "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
    "sys/fs/cgroup/a/cpu.stat": "nr_periods 9\nnr_throttled 6\n",
    "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "2\n",
    "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "3\n",
    "sys/class/thermal/thermal_zone0/temp": "41000\n",
    "sys/class/thermal/thermal_zone1/temp": "57500\n",
    "sys/class/power_supply/BAT0/type": "Battery\n",
    "sys/class/power_supply/BAT0/status": "Discharging\n",
}


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_files_of_a_system_are_read_as_the_kernel_writes_them(tmp_path: Path) -> None:
    root = tree(tmp_path, FILES)
    facts = doctor.gather(doctor.snapshot(root), DESCRIBED, root=root)
    seen = facts.before
    assert (seen.load, seen.pressure) == (0.52, 0.245)
    assert (seen.ticks, seen.stolen) == (1_000, 25)
    assert (seen.throttled, seen.swapped, seen.overheated) == (6, 7, 5)
    assert facts.governors == ("performance", "schedutil")
    assert (facts.packing, facts.quota, facts.swap_used) == ("", 1.5, 40 * 1024)
    assert (facts.hottest_c, facts.on_battery) == (57.5, True)


def test_a_system_without_these_files_tells_nothing(tmp_path: Path) -> None:
    facts = doctor.gather(doctor.snapshot(tmp_path), DESCRIBED, root=tmp_path)
    assert replace(facts.before, at=0.0) == MUTE
    untold = (facts.packing, facts.governors, facts.quota, facts.swap_used)
    assert (*untold, facts.hottest_c, facts.on_battery) == (None,) * 6


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        # The first version of control groups has a folder a controller, and -1 for no limit.
        ({"proc/self/cgroup": "1:cpu:/\n0::/\n", "sys/fs/cgroup/cpu/tasks": ""}, math.inf),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/x\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            2.0,
        ),
        # In a container the path is often the host's, and the mount is our own group.
        (
            {
                "proc/self/cgroup": "0::/docker/4f\n",
                "sys/fs/cgroup/cgroup.controllers": "cpu",
                "sys/fs/cgroup/cpu.max": "50000 100000\n",
            },
            0.5,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cgroup.controllers": "cpu"}, math.inf),
        ({"proc/self/cgroup": "0::/\n"}, None),
    ],
)
def test_the_least_quota_of_all_groups_above_counts(
    tmp_path: Path, files: dict[str, str], quota: float | None
) -> None:
    assert doctor._quota(tree(tmp_path, files)) == quota


def test_what_is_found_on_this_machine_names_nobody_and_no_folder() -> None:
    facts = doctor.gather(doctor.snapshot(), machine.describe(), (python("3.14"),))
    text = json.dumps(doctor.stored(doctor.examine(facts)))
    assert f'"{socket.gethostname()}"' not in text
    assert f'"{getpass.getuser()}"' not in text
    assert re.search(r"(?<![\w.])/[\w.]+/", text) is None


# Two busy processes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("short", "long", "severity", "effect"),
    [
        ((1.9, 1.95, 1.99), (1.98, 1.97, 1.99), "ok", ""),
        ((1.0, 1.1, 1.9), (1.98, 1.97, 1.99), "warning", "What is short gets less"),
        ((1.80, 1.85, 1.99), (1.98, 1.97, 1.99), "note", "What is short gets less"),
        ((1.2, 1.1, 1.3), (1.2, 1.3, 1.2), "warning", "Even long samples do not get two CPUs"),
        ((1.1, 1.9, 1.9), (1.98, 1.97, 1.99), "note", "At times"),
        ((), (), "note", ""),
    ],
)
def test_the_cpus_that_two_busy_processes_got_are_judged(
    short: tuple[float, ...], long: tuple[float, ...], severity: str, effect: str
) -> None:
    finding = together.judge(Together(short, long), 2)
    assert finding.severity == severity
    assert finding.effect.startswith(effect)


def test_on_one_cpu_nothing_is_said_of_two() -> None:
    finding = together.judge(Together((1.0,), (1.0,)), 1)
    assert (finding.severity, finding.seen) == ("note", "there is only one CPU")


def test_two_busy_processes_are_measured_really() -> None:
    (used,) = together.once(None, 0.05)
    assert 0 < used < 3


@pytest.mark.interpreters
def test_two_free_threads_are_measured_where_there_are_any(python314t: Interpreter) -> None:
    seen = together.measure(python314t.executable, 1)
    assert 0 < seen.short[0] < 3
    assert "two busy free threads used" in together.judge(seen, 2).seen


def test_processes_that_do_not_answer_leave_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "_BUSY", "raise SystemExit(1)")
    assert together.once(None, 0.05) == []
    assert together.judge(together.measure(None, 1), 2).seen == UNTOLD


# The A/A run --------------------------------------------------------------------------------------


class MadeUpSampler(Sampler):
    """Gives made-up samples: the second of each two takes twice as long."""

    void: str | None = None

    def take(self, slot: Slot, shape: WorkloadShape, *, number: int) -> Sample:
        object.__setattr__(self, "taken", getattr(self, "taken", 0) + 1)
        wall = 0.3 if self.taken % 2 else 0.6  # type: ignore[attr-defined]
        tasks = shape.batches * shape.batch_size
        return made_up.sample(slot.cell, wall_s=wall, tasks=tasks, void=self.void)


def sampler() -> MadeUpSampler:
    return MadeUpSampler({}, {"kind": "generator", "seed": 0}, "2026-01-05")


def test_which_of_a_pair_is_called_a_is_drawn_so_that_order_makes_no_difference() -> None:
    taken = []
    for pair in noise.pairs(sampler(), "3.14", 1_000.0, random.Random(5)):
        taken.append(pair)
        if len(taken) == 200:
            break
    first = sum(pair.a_s < pair.b_s for pair in taken)
    assert 70 < first < 130
    summary = noise.summarise(taken, "3.14")
    assert summary is not None
    assert summary.mean.low < 0 < summary.mean.high
    assert summary.spread == pytest.approx(math.log(2), rel=0.02)


def test_two_pairs_are_taken_however_short_the_time() -> None:
    taken = list(noise.pairs(sampler(), "3.14", 1e-9, random.Random(5)))
    assert len(taken) == noise.LEAST_PAIRS


def test_a_void_sample_ends_the_a_a_run_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MadeUpSampler, "void", "the GIL was on")
    with pytest.raises(MeasurementError, match="the GIL was on"):
        list(noise.pairs(sampler(), "3.14", 1.0, random.Random(5)))


def test_few_pairs_know_little_of_the_spread() -> None:
    pairs = [Pair(0.30, 0.31, 1.0), Pair(0.31, 0.30, 1.0)]
    few, many = noise.summarise(pairs, "3.14"), noise.summarise(pairs * 50, "3.14")
    assert few is not None
    assert many is not None
    assert few.spread_low < few.spread < few.spread_high
    assert few.spread_high / few.spread > 10  # 31.9 in tables, for one degree of freedom
    assert many.spread_high / many.spread == pytest.approx(1.16, abs=0.01)


def test_one_pair_has_no_spread() -> None:
    assert noise.summarise([Pair(0.3, 0.3, 1.0)], "3.14") is None


def test_an_outlier_counts_in_the_spread_and_not_in_the_robust_one() -> None:
    wobble = (0.300, 0.303, 0.297, 0.301, 0.299, 0.302, 0.298)
    calm = [Pair(a, 0.3, 1.0) for a in wobble]
    summary = noise.summarise([*calm, Pair(0.6, 0.3, 1.0)], "3.14")
    assert summary is not None
    assert summary.spread > 0.2
    assert summary.robust_spread < 0.02


@pytest.mark.parametrize(
    ("count", "effect"),
    # Cohen's tables and G*Power 3.1: matched pairs, two-sided 5 %, power 80 %.
    [(34, 0.5), (15, 0.8), (199, 0.2)],
)
def test_the_smallest_effect_agrees_with_published_sample_sizes(count: int, effect: float) -> None:
    assert noise.smallest_effect(1.0, count) <= effect < noise.smallest_effect(1.0, count - 1)


def test_the_smallest_effect_grows_with_the_spread_and_is_known_for_two_pairs() -> None:
    assert noise.smallest_effect(0.04, 20) == pytest.approx(2 * noise.smallest_effect(0.02, 20))
    assert noise.smallest_effect(0.02, 2) > noise.smallest_effect(0.02, 3) > 0.02


def test_more_time_finds_smaller_differences_and_too_little_finds_none() -> None:
    taken = [Pair(0.3 * (1 + 0.02 * (-1) ** n), 0.3, 8.0) for n in range(20)]
    summary = noise.summarise(taken, "3.14")
    assert summary is not None
    ten_seconds, *longer = summary.detectable
    assert (ten_seconds.pairs, ten_seconds.effect) == (1, None)
    effects = [each.effect for each in longer if each.effect is not None]
    assert len(effects) == 3
    assert effects == sorted(effects, reverse=True)


def test_a_mean_that_is_not_zero_is_said_to_be_wrong() -> None:
    right = noise.summarise([Pair(0.30, 0.31, 1.0), Pair(0.31, 0.30, 1.0)] * 5, "3.14")
    wrong = noise.summarise([Pair(0.33, 0.30, 1.0), Pair(0.34, 0.30, 1.0)] * 5, "3.14")
    assert right is not None
    assert wrong is not None
    assert noise.judge(right).severity == "ok"
    assert noise.judge(wrong).severity == "note"
    assert "leaves out 0" in noise.judge(wrong).effect


# The command --------------------------------------------------------------------------------------


@pytest.fixture
def quick_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is started: what it takes to measure is made up."""
    monkeypatch.setattr(together, "measure", lambda _: Together((1.1, 1.2), (1.98, 1.99)))
    monkeypatch.setattr(diagnosis, "find_all", lambda specs: [python(spec) for spec in specs])

    def pairs(*_: object) -> Iterator[Pair]:
        yield from (Pair(0.3 + 0.01 * (n % 3), 0.31, 1.2) for n in range(9))

    monkeypatch.setattr(noise, "pairs", pairs)


def diagnosed() -> diagnosis.Diagnosis:
    return diagnosis.diagnose(lambda what, how_far: None, seconds=5.0, measure=True)


@pytest.mark.usefixtures("quick_measures")
def test_the_page_fits_into_80_columns_and_begins_with_the_warnings() -> None:
    lines = diagnosis.page(diagnosed(), 80)
    assert max(map(len, lines)) <= 80
    severities = [word for line in lines if (word := line.split(" ")[0]) in ("warning", "ok")]
    assert severities == sorted(severities, reverse=True)
    text = " ".join(" ".join(lines).split())
    assert "two busy processes used 1.15 CPUs (1.10 to 1.20) within 0.1 s" in text
    assert "sampling for pairs smallest difference" in text
    assert "9 pairs of the same sample" in text


@pytest.mark.usefixtures("quick_measures")
def test_the_document_has_machine_findings_and_noise() -> None:
    document = json.loads(diagnosed().as_json())
    assert document.keys() == {"machine", "findings", "noise", "interrupted"}
    for finding in document["findings"]:
        assert finding.keys() == {"name", "severity", "seen", "effect", "remedy"}
    assert document["noise"]["pairs"] == 9
    assert document["noise"]["mean"].keys() == {"estimate", "low", "high"}
    assert [each["seconds"] for each in document["noise"]["detectable"]] == [10, 60, 300, 1800]
    assert document["noise"]["spread"] > 0


@pytest.mark.usefixtures("quick_measures")
def test_ctrl_c_leaves_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> Iterator[Pair]:
        yield Pair(0.30, 0.31, 1.2)
        yield Pair(0.31, 0.30, 1.2)
        raise KeyboardInterrupt

    monkeypatch.setattr(noise, "pairs", interrupted)
    seen = diagnosed()
    assert seen.interrupted
    assert seen.noise is not None
    assert seen.noise.pairs == 2
    assert diagnosis.page(seen, 80)[-1].startswith("Interrupted")


@pytest.mark.usefixtures("quick_measures")
def test_without_an_interpreter_there_are_findings_and_the_way_to_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(spec: object) -> Any:
        raise InterpreterMissingError("there is none")

    monkeypatch.setattr(diagnosis, "find_all", none)
    monkeypatch.setattr(diagnosis, "find", none)
    seen = diagnosed()
    assert seen.noise is None
    text = " ".join(" ".join(diagnosis.page(seen, 80)).split())
    assert "todobatch interpreters install 3.14 3.14t" in text
    assert "A/A run: not taken: no default interpreter is here" in text
    assert "CPUs used together" in text


@pytest.mark.usefixtures("quick_measures")
def test_samples_that_cannot_be_taken_are_a_finding_not_a_crash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> Iterator[Pair]:
        raise MeasurementError("its process was killed in /home/me/x", remedy="mend it")
        yield

    monkeypatch.setattr(noise, "pairs", broken)
    (finding,) = [each for each in diagnosed().findings if each.name == noise.NAME]
    assert finding.severity == "warning"
    assert finding.seen == "it broke off: its process was killed in …/x"


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--strict",), 3)])
@pytest.mark.usefixtures("quick_measures")
def test_a_warning_is_no_failure_unless_strict_asks_for_it(
    options: tuple[str, ...], code: int
) -> None:
    done = CliRunner().invoke(app, ["doctor", *options])
    assert done.exit_code == code
    assert "warning  CPUs used together" in done.stdout


def test_seconds_that_make_no_sense_are_refused(run_todobatch: RunTodobatch) -> None:
    for seconds in ("0", "-3", "nan", "inf"):
        done = run_todobatch("doctor", "--seconds", seconds)
        assert (done.returncode, done.stdout) == (2, "")
        assert "--seconds" in done.stderr


@pytest.mark.interpreters
def test_looking_without_measuring_prints_findings_and_no_noise(
    run_todobatch: RunTodobatch, python314: Interpreter
) -> None:
    done = run_todobatch("doctor", "--no-measure", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert len(document["findings"]) == len(doctor.CHECKS)
    assert document["noise"] is None


@pytest.mark.interpreters
def test_ctrl_c_prints_the_findings_and_exits_130(python314: Interpreter) -> None:
    process = subprocess.Popen(
        [str(COMMAND), "doctor", "--seconds", "600"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=dict(os.environ),
    )
    assert process.stderr is not None
    while "A/A run" not in (line := process.stderr.readline()):
        assert line, process.communicate()
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "CPUs used together" in output
    assert "Interrupted" in output
    assert "Traceback" not in errors


# What bench keeps of it ---------------------------------------------------------------------------


@pytest.mark.interpreters
@pytest.mark.timeout(300)
def test_a_run_keeps_what_doctor_finds_without_measuring(
    run_todobatch: RunTodobatch, mine: str, tmp_path: Path, interpreters: dict[str, Interpreter]
) -> None:
    folder = tmp_path / "run"
    # Found by the command too, not by the measured processes alone.
    here = os.pathsep.join(filter(None, (str(Path.cwd()), os.environ.get("PYTHONPATH"))))
    done = run_todobatch(
        *("bench", "--workloads", f"{mine}:length", "--executors", "threads", "--workers", "2"),
        *("--blocks", "1", "--batch-size", "5", "--seed", "1", "-o", folder),
        env={"PYTHONPATH": here},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kept = load_run(folder).meta.doctor
    assert [each["name"] for each in kept] == [each.name for each in doctor.examine(QUIET)]
    assert str(Path.home()) not in json.dumps(kept)
    assert str(tmp_path) not in json.dumps(kept)


def test_show_has_a_line_for_each_warning_of_the_run() -> None:
    findings = [
        found(replace(QUIET, packing="15", turbo=True), name) for name in ("vCPU packing", "turbo")
    ]
    run = made_up.run_of({made_up.SEQ: made_up.drifting(1.0)})
    warned = replace(run, meta=replace(run.meta, doctor=doctor.stored(findings)))
    lines = [line for line in show.notes(warned) if line.startswith("Doctor:")]
    assert lines == ["Doctor: vCPU packing: sched_vcpu_pack=15 is on the kernel's command line"]


def test_show_tells_of_a_busy_machine_once() -> None:
    run = made_up.run_of({made_up.SEQ: made_up.drifting(1.0)})
    busy = found(before(load=6.0), "load of others")
    meta = replace(
        run.meta, machine={**run.meta.machine, "load": [6.0]}, doctor=doctor.stored([busy])
    )
    assert sum("load" in line for line in show.notes(replace(run, meta=meta))) == 1


def test_a_run_of_before_there_was_a_doctor_has_no_findings() -> None:
    assert load_run(GOLDEN).meta.doctor == []
