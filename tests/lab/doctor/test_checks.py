"""Each check finds its trouble on a made-up machine, with an effect and a remedy."""

import json
from dataclasses import replace

import pytest

from tests.lab.doctor.machines import QUIET, SILENT, START, after, before, found, python
from todobatch.lab.doctor import checks
from todobatch.lab.doctor.checks import UNKNOWN
from todobatch.lab.doctor.system import Facts


def test_a_quiet_machine_of_its_own_has_nothing_to_say_against_it() -> None:
    assert [each for each in checks.examine(QUIET) if each.severity != "ok"] == []


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
    ("CPU quota", replace(QUIET, quota=1.5), "warning", "1.5 CPUs; 8 CPUs available"),
    ("CPU quota", after(throttled=3), "warning", "it stopped this process 3 times"),
    ("CPUs", replace(QUIET, cpus_available=1), "warning", "only one"),
    ("CPUs", replace(QUIET, cpus_available=2), "note", "two"),
    ("affinity", replace(QUIET, cpus_available=4), "note", "4 of the machine's 8 CPUs"),
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
        "built with different options: profile-guided optimisation: yes (3.14), no (3.14t)",
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
        "not found: 3.14t",
    ),
    (
        "builds",
        replace(QUIET, interpreters=(), missing=("3.14", "3.14t")),
        "warning",
        "not found: 3.14, 3.14t",
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
    others = [each for each in checks.examine(facts) if each.name != name]
    assert [each.name for each in others if each.severity == "warning"] == []


def test_every_check_has_a_made_up_trouble() -> None:
    names = {name for name, *_ in TROUBLES}
    assert names == {each.name for each in checks.examine(QUIET)}


def test_an_unknown_property_is_neither_good_nor_bad() -> None:
    findings = {each.name: each for each in checks.examine(SILENT)}
    unknown = {name for name, each in findings.items() if each.seen == UNKNOWN}
    # These are known of this process and its interpreters on any system.
    assert set(findings) - unknown == {"CPUs", "virtualisation", "builds"}
    assert {findings[name].severity for name in unknown} == {"note"}


def test_a_hypervisor_that_never_reported_steal_time_is_not_called_free_of_it() -> None:
    silent = replace(START, stolen=0)
    facts = replace(QUIET, virtualised="QEMU", before=silent, after=replace(silent, ticks=9_000))
    assert "may not report" in found(facts, "steal time").seen


def test_a_counter_without_time_between_its_readings_is_unknown() -> None:
    assert found(replace(QUIET, after=QUIET.before), "steal time").seen == UNKNOWN


def test_missing_interpreters_come_with_the_command_that_gets_them() -> None:
    facts = replace(QUIET, interpreters=(), missing=("3.14", "3.14t"))
    assert found(facts, "builds").remedy == "todobatch interpreters install 3.14 3.14t"


def test_an_interpreter_named_by_its_path_leaves_no_folder_in_a_finding() -> None:
    mine = python("/home/me/plans/bin/python3.14", optimized_build=False)
    for others in ((), (python("3.14t"),)):
        finding = found(replace(QUIET, interpreters=(mine, *others)), "builds")
        assert "/home" not in json.dumps(checks.as_dictionaries([finding]))
