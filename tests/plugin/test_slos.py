"""SLOs for single candidates and in slo.toml: what holds for which test, seen in real pytest sessions."""

from __future__ import annotations

import json

import pytest

# Not anew in every session in this process: C extensions cannot be imported twice, and a class would not be itself.
import tritonclient.grpc.model_config_pb2  # noqa: F401
from python_models import write_model

import pytest_triton.load.description
import pytest_triton.plugin.expansion  # noqa: F401
from pytest_triton.plugin import slos

SHOW = """
def pytest_collection_modifyitems(items):
    for item in items:
        plan = item.callspec.params["_triton_plan"] if hasattr(item, "callspec") else None
        if plan is not None:
            bounds = ", ".join(f"{bound} ({bound.source})" for bound in plan.case.slo.bounds)
            print(f"SLO of {item.name}: {bounds}")
"""


@pytest.fixture
def collect(pytester, repository):
    """Collect one test module beside ``identity``, in this process, and return the run and the SLO of each test."""
    pytester.makeconftest(SHOW)

    def collect(test, *arguments, file=""):
        (repository / "identity" / "test_identity.py").write_text("import pytest\n\n" + test)
        if file:
            (repository / "identity" / "slo.toml").write_text(file)
        result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--collect-only", "-s", *arguments)
        lines = [line.partition("SLO of ")[2] for line in result.outlines if "SLO of " in line]
        return result, dict(line.split(": ", 1) for line in lines if ": " in line)

    return collect


SEARCH = """
@pytest.mark.triton_search({{"instance_count": [1, 2], "dynamic_batching": [None, {{}}]}})
{markers}
def test_best(triton_perf):
    triton_perf()
"""


def test_a_marker_may_hold_for_one_candidate_or_for_some(collect):
    markers = """@pytest.mark.triton_slo(p95="1s", error_rate="0%")
@pytest.mark.triton_slo(candidate="i2-dyn", p95="2s")
@pytest.mark.triton_slo(candidate={"instance_count": 1}, p95="3s")
@pytest.mark.triton_slo(candidate=["default", {"instance_count": 1, "dynamic_batching": None}], p95="4s")"""
    _, found = collect(SEARCH.format(markers=markers))
    all_of = "error_rate <= 0 % (triton_slo)"
    some = "triton_slo(candidate=['default', {'instance_count': 1, 'dynamic_batching': None}])"
    for name, p95 in {
        "i1-nodyn": f"4.00 s ({some})",
        "i1-dyn": "3.00 s (triton_slo(candidate={'instance_count': 1}))",
        "i2-nodyn": "1.00 s (triton_slo)",
        "i2-dyn": "2.00 s (triton_slo(candidate='i2-dyn'))",
        "best": f"4.00 s ({some})",
    }.items():
        assert f"p95 <= {p95}" in found[f"test_best[{name}]"]
        assert all_of in found[f"test_best[{name}]"]


FILE = """
[slo]
error_rate = "0%"
p95 = "1s"

[slo."i2-dyn"]
p95 = "2s"

[[case]]
concurrency = 4
p95 = "3s"
"""


def test_the_file_beside_the_model_holds_where_no_marker_says_otherwise(collect):
    test = """
@pytest.mark.triton_load(concurrency=[1, 4])
def test_of_the_file(triton_perf):
    triton_perf()

@pytest.mark.triton_load(concurrency=[1, 4])
@pytest.mark.triton_slo(p95="9s", throughput="1/s")
def test_of_both(triton_perf):
    triton_perf()
"""
    _, found = collect(test + SEARCH.format(markers='@pytest.mark.triton_slo(candidate="i1-dyn", p95="8s")'), file=FILE)
    errors = "error_rate <= 0 % (slo.toml [slo])"
    assert found["test_of_the_file[c1]"] == f"{errors}, p95 <= 1.00 s (slo.toml [slo])"
    assert found["test_of_the_file[c4]"] == f"{errors}, p95 <= 3.00 s (slo.toml [[case]] number 1)"
    for name in ("c1", "c4"):
        assert (
            found[f"test_of_both[{name}]"] == f"{errors}, p95 <= 9.00 s (triton_slo), throughput >= 1.00/s (triton_slo)"
        )
    assert "p95 <= 2.00 s" in found["test_best[i2-dyn]"]
    assert "p95 <= 8.00 s" in found["test_best[i1-dyn]"]
    assert "p95 <= 1.00 s" in found["test_best[i1-nodyn]"]


def test_a_model_of_a_running_server_has_its_file_beside_the_tests(pytester, collect):
    folder = pytester.mkdir("elsewhere")
    (folder / "far").mkdir()
    (folder / "far" / "slo.toml").write_text(FILE)
    (folder / "far" / "test_far.py").write_text(
        'import pytest\n\n@pytest.mark.triton_model("far")\n@pytest.mark.triton_load(concurrency=[1])\n'
        "def test_far(triton_perf):\n    triton_perf()\n"
    )
    _, found = collect("", "elsewhere", "--triton-server=http://127.0.0.1:9")
    assert "p95 <= 1.00 s (slo.toml [slo])" in found["test_far[c1]"]


PLAIN = "{marker}\ndef test_it(triton_perf):\n    triton_perf()\n"


@pytest.mark.parametrize(
    ("test", "file", "problem", "way_out"),
    [
        (
            SEARCH.format(markers='@pytest.mark.triton_slo(candidate="i2-dny", p95="1s")'),
            "",
            "id 'i2-dny'",
            "'i2-dyn'?",
        ),
        (SEARCH.format(markers=""), '[slo."i2-dny"]\np95 = "1s"', '[slo."i2-dny"]: no candidate', "'i2-dyn'?"),
        (
            SEARCH.format(markers='@pytest.mark.triton_slo(candidate={"instance_cout": 1}, p95="1s")'),
            "",
            "triton_slo: ",
            "instance_count",
        ),
        (
            SEARCH.format(markers='@pytest.mark.triton_slo(candidate={"instance_count": 3}, p95="1s")'),
            "",
            "no case of this test has instance_group.count=3",
            "there is 1, 2",
        ),
        (
            SEARCH.format(markers='@pytest.mark.triton_slo(candidate={"max_batch_size": 3}, p95="1s")'),
            "",
            "max_batch_size is no axis of this test",
            "instance_group.count",
        ),
        (PLAIN.format(marker='@pytest.mark.triton_slo(candidate="i2", p95="1s")'), "", "'i2'", "leave candidate out"),
        (PLAIN.format(marker='@pytest.mark.triton_slo(candidate="i2")'), "", "without a bound", "beside it"),
        (PLAIN.format(marker='@pytest.mark.triton_slo(candidate=2, p95="1s")'), "", "candidate=2 names no", "'i2-dyn'"),
        (PLAIN.format(marker='@pytest.mark.triton_slo(ttfr_p99="1s")'), "", "does not give ttfr_p99", "streaming=True"),
        (PLAIN.format(marker='@pytest.mark.triton_slo(send_lag_p99="1s")'), "", "send_lag_p99", "rate='400/s'"),
        (PLAIN.format(marker=""), '[slo]\nttfr_p99 = "1s"', "(slo.toml [slo]): this load does not give", "leave the"),
        (PLAIN.format(marker=""), "[slo\n", "slo.toml is no TOML", "at line 1"),
        (
            PLAIN.format(marker='@pytest.mark.triton_slo(p95="1s")'),
            '[slo]\np50 = [">=", "2s"]',
            "p50 >= 2.00 s (slo.toml [slo]) and p95 <= 1.00 s (triton_slo) contradict",
            "the SLO of identity",
        ),
        (
            PLAIN.format(marker='@pytest.mark.triton_slo(throughput=[(">=", "400/s"), ("<=", "300/s")])'),
            "",
            "triton_slo: throughput >= 400.0/s and throughput <= 300.0/s contradict",
            "change one",
        ),
        (PLAIN.format(marker='@pytest.mark.triton_slo(error_rate="120%")'), "", "never above 100.0 %", "can miss"),
    ],
)
def test_what_cannot_be_meant_is_an_error_at_collection(collect, test, file, problem, way_out):
    result, _ = collect(test, file=file)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    output = result.stdout.str()
    assert problem in output
    assert way_out in output
    assert "Traceback" not in output


def test_a_marker_on_the_module_may_speak_of_one_search_among_other_tests(collect):
    module = 'pytestmark = pytest.mark.triton_slo(candidate="i2-dyn", p95="2s")\n'
    result, found = collect(module + PLAIN.format(marker="") + SEARCH.format(markers=""))
    assert result.ret == 0
    assert "p95 <= 2.00 s" in found["test_best[i2-dyn]"]
    result, _ = collect(module.replace("dyn", "dny") + PLAIN.format(marker="") + SEARCH.format(markers=""))
    assert "did you mean 'i2-dyn'?" in result.stdout.str()


@pytest.mark.parametrize(
    ("metric", "server", "drivers", "problem"),
    [
        ('gpu_memory="1GiB"', "embedded", (), "this machine has no NVIDIA driver"),
        ('gpu_utilization="50%"', "embedded", (), "this machine has no NVIDIA driver"),
        ('gpu_memory="1GiB"', "embedded", ("/dev/null",), ""),
        ('gpu_memory="1GiB"', "local", (), ""),
        ('gpu_memory="1GiB"', "http://127.0.0.1:9", ("/dev/null",), "a running server does not give gpu_memory"),
        ('rss="1GiB"', "http://127.0.0.1:9", (), "a running server does not give rss"),
        ('cpu="90%"', "embedded", (), ""),
    ],
)
def test_a_metric_that_the_server_never_gives(collect, monkeypatch, metric, server, drivers, problem):
    monkeypatch.setattr(slos, "_DRIVERS", drivers)
    test = PLAIN.format(marker=f"@pytest.mark.triton_slo({metric})")
    result, _ = collect(test, f"--triton-server={server}")
    assert bool(result.ret) is bool(problem)
    assert problem in result.stdout.str()
    # A smoke test judges nothing.
    assert collect(test, f"--triton-server={server}", "--triton-smoke")[0].ret == 0


def test_a_file_decides_about_a_test_and_the_message_says_so(run, repository, pytester):
    (repository / "identity" / "slo.toml").write_text(
        '[slo]\np50 = "1us"\n\n[[case]]\nconcurrency = 2\np50 = "10s"\nload_time = "10s"\ncpu = "900%"\n'
    )
    result = run(
        """
@pytest.mark.triton_slo(error_rate="0%")
def test_slo(triton_perf):
    triton_perf(concurrency=2)
    triton_perf()
""",
        "--triton-json=found.json",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E * limit * written in * margin*", "E * p50 * <= 1.00 us  slo.toml ?slo? * MISSED", "E * triton_slo * met"]
    )
    first, second = json.loads((pytester.path / "found.json").read_text())["cases"]
    assert first["slo"]["load_time"] == "<= 10.0 s"
    assert (first["verdict"], second["verdict"]) == ("PASS", "FAIL")


def test_a_bound_on_what_is_not_known_is_an_error_with_what_it_takes(run):
    """Triton reports no GPU here, and a server of its own is asked what it gives only when it runs."""
    result = run(
        """
@pytest.mark.triton_slo(gpu_memory="1GiB")
def test_slo(triton_perf):
    triton_perf()
""",
        "-p",
        "brought",
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*gpu_memory is bounded, but this server and load do not give it; it takes a GPU*"])


@pytest.fixture(autouse=True)
def brought(pytester):
    """A plugin that brings the server: what it can give is not known at collection."""
    pytester.makepyfile(
        brought="""
from pytest_triton import EmbeddedServer

def pytest_triton_make_server(config, repository, arguments, output):
    return EmbeddedServer(repository, output=output, arguments=arguments)
"""
    )
    pytester.syspathinsert()


def test_each_candidate_of_a_search_is_held_against_its_own(run, pytester):
    result = run(
        """
@pytest.mark.triton_search({"instance_count": [1, 2]}, strategy="exhaustive")
@pytest.mark.triton_slo(batch=1)
@pytest.mark.triton_slo(candidate="i2", batch=100)
def test_best(triton_perf):
    triton_perf()
""",
        "--triton-json=found.json",
    )
    assert result.parseoutcomes()["infeasible"] == 1
    one, two, best = json.loads((pytester.path / "found.json").read_text())["cases"]
    assert (one["slo"], one["verdict"]) == ({"batch": ">= 1.00"}, "PASS")
    assert (two["slo"], two["verdict"]) == ({"batch": ">= 100.0"}, "FAIL")
    assert (best["slo"], best["verdict"]) == ({"batch": ">= 1.00"}, "PASS")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["-v"], "*::test_slo INCONCLUSIVE *"),
        ([], "models/coin/test_coin.py I *"),
        (["-q"], "I *"),
        (["-rA", "-q"], "I *"),
        (["-v", "--color=yes"], "*::test_slo \x1b?33mINCONCLUSIVE*"),
        (["-n1"], "I *"),
    ],
    ids=lambda value: "".join(value) or "default" if isinstance(value, list) else "",
)
def test_what_is_undecided_says_so_everywhere(run, repository, pytester, arguments, word):
    """Word, letter and colour; the reason with estimate, interval and need, whatever becomes of warnings."""
    write_model(repository, "coin", execute="import random, time; time.sleep(random.choice([0, 0.004]))", dims="[ 1 ]")
    result = run(
        """
@pytest.mark.triton_slo(p999="10s")
def test_slo(triton_perf):
    triton_perf()
""",
        *arguments,
        "--triton-inconclusive=pass",
        "--triton-max-duration=400ms",
        "--junitxml=junit.xml",
        folder=repository / "coin",
    )
    assert result.ret == 0
    why = "p999 <= 10.0 s: undecided with * (* or more), about * more requests would decide"
    result.stdout.fnmatch_lines([word, "  Concurrency: 1, *  INCONCLUSIVE", f"    {why}", "*1 inconclusive*"])
    text = (pytester.path / "junit.xml").read_text()
    assert 'name="triton_verdict" value="INCONCLUSIVE"' in text
    assert 'name="triton_reason" value="p999 &lt;= 10.0 s: undecided with' in text
    assert "more requests would decide" in text
