"""The state of the machine around a sample is stored in pyperf's form."""

import datetime as dt
from pathlib import Path

import pytest

from todobatch.lab.measure import conditions

STARTED = dt.datetime(2026, 11, 27, 3, 0, 0, 250, tzinfo=dt.UTC)


def cpuinfo(*megahertz: float) -> str:
    return "\n".join(
        f"processor\t: {cpu}\nmodel name\t: x\ncpu MHz\t\t: {each}\n"
        for cpu, each in enumerate(megahertz)
    )


def test_it_has_the_fields_of_pyperf_and_none_that_the_machine_does_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(conditions, "SENSORS", tmp_path / "none")
    found = conditions.conditions(STARTED, 0.5, 0.25)
    assert found.keys() == {"date", "duration", "load_avg_1min", "value"}
    assert (found["duration"], found["value"]) == (0.5, 0.25)
    assert dt.datetime.fromisoformat(found["date"]).astimezone(dt.UTC) == STARTED


def test_cpus_of_one_frequency_are_named_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo(2599.6, 2600.2, 1200.0, 2600.0))
    monkeypatch.setattr(conditions, "CPUINFO", tmp_path / "cpuinfo")
    found = conditions.conditions(STARTED, 0.5, 0.25)
    assert found["cpu_freq"] == "0-1,3=2600 MHz; 2=1200 MHz"


def test_the_sensors_of_intel_give_temperatures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, label in (("coretemp", "Core 0"), ("acpitz", "Box")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        (folder / "temp2_label").write_text(f"{label}\n")
        (folder / "temp2_input").write_text("45600\n")
    monkeypatch.setattr(conditions, "SENSORS", tmp_path)
    assert conditions.conditions(STARTED, 0.5, 0.25)["cpu_temp"] == "coretemp:Core 0=46 C"
