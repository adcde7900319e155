from dataclasses import replace

from tests.tools import made_up
from todobatch.lab.stats.reasons import UNEXPLAINED
from todobatch.lab.store.folder import Run
from todobatch_reports import readiness
from todobatch_reports.frames import Figures


def figures_of(cpus: int = 2, **changes: object) -> Figures:
    meta = made_up.full_meta(cpus=cpus, blocks=5, workloads=("example8",))
    taken = [replace(s, **changes) if s.number == 7 else s for s in made_up.full_samples(meta)]  # type: ignore[arg-type]
    return Figures.of(Run(meta, taken))


def test_two_cpus_cannot_answer_for_four() -> None:
    point = readiness.three_times_on_four_cpus(figures_of(cpus=2))
    assert point.state == "not measured"
    assert "2 CPUs" in point.evidence


def test_three_times_on_four_cpus_is_judged_by_the_interval() -> None:
    point = readiness.three_times_on_four_cpus(figures_of(cpus=4))
    assert point.state == "met"
    assert point.cells[0].workers == 4


def test_one_different_digest_fails_the_same_results_point() -> None:
    assert readiness.same_results(figures_of()).state == "met"
    point = readiness.same_results(figures_of(digest="another"))
    assert point.state == "not met"
    assert "example8" in point.evidence


def test_one_failed_task_fails_the_same_results_point() -> None:
    assert readiness.same_results(figures_of(failed=1)).state == "not met"


def test_what_a_speed_run_cannot_show_is_said_to_be_not_measured() -> None:
    states = {p.question: p.state for p in readiness.checklist(figures_of())}
    assert states["A failing processor does not affect the others"] == "not measured"


def test_without_free_threads_nothing_is_said_of_races() -> None:
    meta = made_up.full_meta(blocks=3, workloads=("example8",))
    only_gil = [s for s in made_up.full_samples(meta) if s.interpreter == "3.14"]
    figures = Figures.of(Run(meta, only_gil))
    assert readiness.no_races(figures).state == "not measured"
    assert readiness.thread_tax(figures) == []
    assert readiness.memory_saving(figures, "example8") == ""


def test_the_cost_of_no_gil_on_one_thread_is_a_paired_ratio() -> None:
    (tax,) = readiness.thread_tax(figures_of())
    assert 0.9 < tax.comparison.ratio.estimate < 1.0
    assert tax.comparison.pairs == 5


def test_one_block_decides_nothing() -> None:
    meta = made_up.full_meta(blocks=1, workloads=("example8",))
    figures = Figures.of(Run(meta, made_up.full_samples(meta)))
    assert readiness.limits_known(figures).state == "inconclusive"
    assert readiness.bottleneck_known(figures).state == "inconclusive"
    assert readiness.strategy_defined(figures).state == "inconclusive"
    assert readiness.limits_known(figures_of()).state == "met"


def test_a_loss_without_a_measured_reason_leaves_the_bottleneck_open() -> None:
    figures = figures_of()

    def with_reason(why: str) -> Figures:
        winners = tuple(replace(w, reasons=(("threads", why),)) for w in figures.winners)
        return replace(figures, winners=winners)

    assert (
        readiness.bottleneck_known(with_reason("the GIL: its 2 threads used 1 CPU")).state == "met"
    )
    assert readiness.bottleneck_known(with_reason(UNEXPLAINED)).state == "inconclusive"


def test_an_open_verdict_leaves_the_strategy_open() -> None:
    figures = figures_of()
    decided = replace(figures, winners=tuple(replace(w, verdict="faster") for w in figures.winners))
    undecided = replace(
        figures, winners=tuple(replace(w, verdict="inconclusive") for w in figures.winners)
    )
    assert readiness.strategy_defined(decided).state == "met"
    assert readiness.strategy_defined(undecided).state == "inconclusive"
