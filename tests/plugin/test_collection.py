"""What markers may say, and what is said about the ones that may not: all at collection, without a server."""

from __future__ import annotations

import pytest

# Not anew in every session in this process: C extensions cannot be imported twice, and a class would not be itself.
import tritonclient.grpc.model_config_pb2  # noqa: F401

import pytest_triton.load.description
import pytest_triton.plugin.expansion  # noqa: F401


@pytest.fixture
def run(pytester, repository):
    """Collect, in this process: no server runs, so nothing of one session can reach the next."""

    def run(test, *arguments, folder=repository / "identity"):
        (folder / f"test_{folder.name}.py").write_text("import pytest\n\n" + test)
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)

    return run


BAD_MARKERS = [
    ('triton_slo(p98="25ms")', "unknown metric 'p98'", "did you mean 'p9"),
    ("triton_slo(p99=25)", "p99: 25 has no unit", "'25ms'"),
    ('triton_slo(p99="25mz")', "unknown unit 'mz'", "ns, us"),
    ('triton_slo(throughput=("<", "1/s"))', "is not a bound", "'<='"),
    ("triton_load(concurency=4)", "triton_load has no argument 'concurency'", "did you mean 'concurrency'?"),
    ("triton_load(concurrency=0)", "concurrency=0", "at least 1"),
    ("triton_load(concurrency=[])", "concurrency=[] leaves nothing to measure", "at least one value"),
    ('triton_load(batch_size="2")', "batch_size='2'", "at least 1"),
    ('triton_load(protocol="carrier pigeon")', "protocol='carrier pigeon'", "http"),
    ("triton_load(concurrency=[4, 4])", "concurrency=4 stands there twice", "once"),
    ("triton_load(rate=400)", "rate=400: 400 has no unit", "'400/s'"),
    ('triton_load(rate="0/s")', "rate='0/s'", "above 0"),
    ('triton_load(rate="400ms")', "unknown unit 'ms'", "/s"),
    ('triton_load(rate="9/s", concurrency=4)', "concurrency=4 beside scheduled arrivals means nothing", "leave conc"),
    ('triton_load(rate="9/s", concurrency="auto")', "'auto' beside scheduled arrivals", "leave concurrency out"),
    ('triton_load(arrivals="constant")', "arrivals='constant' without a rate", "rate='400/s'"),
    ('triton_load(arrivals="uniform")', "arrivals='uniform': there is no file", "'poisson'"),
    ("triton_load(arrivals=4)", "arrivals=4", "'poisson'"),
    ('triton_load(arrivals="conftest.txt")', "line 2: '-5' is no interval", "whole microseconds"),
    ('triton_load(arrivals="good.txt", rate="9/s")', "rate beside a file of arrivals", "leave one of them out"),
    ("triton_load(sequence_length=0)", "sequence_length=0", "pair (low, high)"),
    ("triton_load(sequence_length=(9, 3))", "sequence_length=(9, 3)", "pair (low, high)"),
    ("triton_load(streaming=True)", "streaming=True over HTTP", "protocol='grpc'"),
    ('triton_load(streaming="yes")', "streaming='yes'", "True or False"),
    ('triton_load(shared_memory="posix")', "shared_memory='posix'", "'system', 'cuda'"),
    ('triton_search({"rate": [400]})', "rate=400: 400 has no unit", "'400/s'"),
    ('triton_search({"rate": ["9/s"], "concurrency": [4]})', "concurrency=4 beside scheduled", "leave conc"),
    ('triton_search({"protocol": ["http"], "streaming": [True]})', "streaming=True over HTTP", "protocol='grpc'"),
    ("triton_model()", "missing a required argument: 'name'", "triton_model(name)"),
    ('triton_input(shape={"X": "3"})', "shape of 'X' is '3'", "[3, 224, 224]"),
    ('triton_input(shapes={"X": [3]})', "triton_input has no argument 'shapes'", "did you mean 'shape'?"),
    ("triton_search({})", "the axes are {}: no mapping, or empty", "instance_group.count"),
    ('triton_search({"instance_grup.count": [1]})', "instance_grup", "instance_group.count"),
    ('triton_search({"instance_group.count": []})', "instance_group.count", "value"),
    ('triton_search({"instance_group.count": 2})', "instance_group.count", "list"),
    ('triton_search({"instance_group.count": ["two"]})', "instance_group.count", "'two'"),
    ('triton_search({"max_batch_size": [1, 1]})', "max_batch_size", "1"),
    ('triton_search({"concurrency": [0]})', "concurrency=0", "at least 1"),
    ('triton_search({"max_batch_size": [1]}, objective="speed")', "unknown metric 'speed'", "valid names"),
    ('triton_search({"max_batch_size": [1]}, strategy="rase")', "unknown strategy 'rase'", "did you mean 'race'?"),
    ('triton_search({"max_batch_size": [1]}, exclude=lambda v: v["mbs"])', "failed for b1: no axis 'mbs'", "max_batch"),
    ('triton_search({"max_batch_size": [1]}, exclude=lambda v: True)', "no candidate is left of the 1", "1 by exclude"),
    ('triton_search({"max_batch_size": [1]}, reference="no.onnx")', "there is no file", "ONNX"),
    ('triton_search({"max_batch_size": [1]}, order=1)', "triton_search has no argument 'order'", "valid names"),
    ('triton_search({"a": {}}, strategy="optuna")', "these candidates are given whole", "Leave the strategy out"),
    (
        'triton_search({"instance_count": range(1, 999), "max_batch_size": range(1, 999)})',
        "the search has 998 x 998 = 996,004 points",
        "strategy='optuna' propose",
    ),
    (
        'triton_search({"rate": ["9/s"], "instance_count": [1]}, strategy="optuna", objective="p99")\n'
        '@pytest.mark.triton_slo(p99="1s", candidate="i2")',
        "no candidate of this test has the id 'i2'",
        "valid names",
    ),
    ("triton_lod(concurrency=1)", "unknown marker 'triton_lod'", "did you mean 'triton_load'?"),
]


@pytest.mark.parametrize(("marker", "problem", "way_out"), BAD_MARKERS, ids=[m for m, *_ in BAD_MARKERS])
def test_bad_marker_is_named_with_the_way_out(run, repository, marker, problem, way_out):
    (repository / "identity" / "conftest.txt").write_text("100\n-5\n")
    (repository / "identity" / "good.txt").write_text("100\n200\n")
    result = run(f"@pytest.mark.{marker}\ndef test_it(triton_perf):\n    triton_perf()\n", "--collect-only")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    output = result.stdout.str()
    assert problem in output
    assert way_out in output
    assert "test_it" in output
    assert "Traceback" not in output


def test_a_list_means_one_case_each(run):
    result = run(
        """
@pytest.mark.triton_load(concurrency=[1, 4], batch_size=[2, 8])
def test_it(triton_perf):
    triton_perf()

def test_single(triton_perf):
    triton_perf()
""",
        "--collect-only",
        "-q",
    )
    ids = [line.rpartition("::")[2] for line in result.outlines if "::" in line]
    assert ids == ["test_it[c1-bs2]", "test_it[c1-bs8]", "test_it[c4-bs2]", "test_it[c4-bs8]", "test_single"]


@pytest.mark.parametrize(
    ("load", "ids"),
    [
        ('rate=["400/s", "0.5/s", "1500/s"]', ["r400", "r0.5", "r1500"]),
        (
            'rate=[Phases(("10s", "100/s"), ("2s", "800/s")), Phases(("30s", "100/s", "900/s"))]',
            ["r100_800", "r100to900"],
        ),
        ('rate=[Phases(("1s", "5/s")), Phases(("2s", "5/s"))]', ["r5.1", "r5.2"]),
        ('rate="9/s", arrivals=["poisson", "constant"]', ["poisson", "constant"]),
        ('arrivals=["calm.txt", "busy.txt"]', ["calm", "busy"]),
        ("sequence_length=[20, (10, 90)]", ["s20", "s10to90"]),
        ("sequence_length=(10, 90), concurrency=[1, 2]", ["c1", "c2"]),
        ('sequence_length=4, rate="9/s", concurrency=[1, 2]', ["c1", "c2"]),
        ('protocol="grpc", streaming=[False, True]', ["stream0", "stream1"]),
        (
            'shared_memory=["none", "system"], concurrency=("auto", 2)',
            ["cauto-shmnone", "c2-shmnone", "cauto-shmsystem", "c2-shmsystem"],
        ),
    ],
)
def test_every_field_of_the_load_has_readable_ids(run, repository, load, ids):
    for name in ("calm.txt", "busy.txt"):
        (repository / "identity" / name).write_text("100\n200\n")
    test = f"""
from pytest_triton import Phases

@pytest.mark.triton_load({load})
def test_it(triton_perf):
    triton_perf()
"""
    result = run(test, "--collect-only", "-q")
    found = [line.rpartition("[")[2].rstrip("]") for line in result.outlines if "::" in line]
    assert sorted(found) == sorted(ids)
    assert all(not set(name) & set("=, ") for name in found)


def test_a_search_over_the_load(run):
    test = """
@pytest.mark.triton_search({"protocol": ["http", "grpc"], "rate": [None, "400/s"], "instance_count": [1, 2]})
def test_it(triton_perf):
    triton_perf()
"""
    result = run(test, "--collect-only", "-q")
    found = [line.rpartition("[")[2].rstrip("]") for line in result.outlines if "::" in line]
    assert found == [
        "http-closed-i1",
        "http-r400-i1",
        "grpc-closed-i1",
        "grpc-r400-i1",
        "http-closed-i2",
        "http-r400-i2",
        "grpc-closed-i2",
        "grpc-r400-i2",
        "best",
    ]


SEARCH = """
@pytest.mark.triton_search(
    {"instance_group.count": [1, 2], "parameters.threads": [1], "dynamic_batching": [None, {}]},
)
def test_best(triton_perf):
    triton_perf()
"""


def test_a_search_is_a_case_per_candidate_and_one_that_decides(run):
    result = run(SEARCH, "--collect-only", "-q")
    ids = [line.rpartition("::")[2] for line in result.outlines if "::" in line]
    assert len(ids) == 5
    assert ids[-1] == "test_best[best]"
    assert len(set(ids)) == 5
    assert all(not set(name) & set("=, ") for name in ids)


def ids_of(result):
    return [line.rpartition("[")[2].rstrip("]") for line in result.outlines if "::" in line]


def test_candidates_may_be_given_whole_each_with_an_slo_of_its_own(run):
    test = """
@pytest.mark.triton_search({"small": {"instance_count": 1}, "big": {"instance_count": 4, "concurrency": 8}})
@pytest.mark.triton_slo(candidate="small", p99="1s")
def test_best(triton_perf):
    triton_perf()
"""
    assert ids_of(run(test, "--collect-only", "-q")) == ["small", "big", "best"]


def test_the_default_space_and_what_is_left_out_are_told(run):
    test = """
from pytest_triton import Powers, Range

@pytest.mark.triton_search()
def test_default(triton_perf):
    triton_perf()

@pytest.mark.triton_search(
    {"instance_count": Range(1, 3), "max_batch_size": Powers(2, 8), "preferred_batch_size": [[4]]},
    exclude=lambda values: values["instance_count"] * values["max_batch_size"] > 16,
)
def test_best(triton_perf):
    triton_perf()
"""
    result = run(test, "--collect-only", "-q")
    result.stdout.fnmatch_lines(
        [
            "triton: search of identity: the default space: instance_group.count (i1*), max_batch_size (b2, b8), "
            "dynamic_batching (nodyn, dyn, dyn.d1000us), * candidates",
            "triton: search of identity: left out: 3 that Triton would refuse: dynamic_batching.preferred_batch_size "
            "holds 4, more than max_batch_size 2; 1 by exclude=",
        ]
    )
    assert ids_of(result)[-6:] == ["i1-b8-p4", "i2-b8-p4", "i1-b4-p4", "i2-b4-p4", "i3-b4-p4", "best"]


def test_a_space_of_millions_is_collected_as_trials(run):
    test = """
from pytest_triton import Range

@pytest.mark.triton_search(
    {"instance_count": Range(1, 99), "max_queue_delay": Range(0, 4999), "rate": ["auto", "400/s"]},
    strategy="optuna", trials=3,
)
@pytest.mark.triton_slo(candidate="i7-d100us-r400", p99="1s")
@pytest.mark.triton_slo(candidate={"instance_count": 8, "max_queue_delay": "1ms"}, p99="2s")
def test_best(triton_perf):
    triton_perf()

@pytest.mark.triton_search({"instance_count": [1, 2]}, strategy="optuna", trials=9)
def test_few(triton_perf):
    triton_perf()
"""
    result = run(test, "--collect-only", "-q")
    assert ids_of(result) == ["trial-01", "trial-02", "trial-03", "best", "trial-01", "trial-02", "best"]
    result.stdout.fnmatch_lines(["triton: search of identity: 990,000 points"])


def test_the_strategy_can_be_chosen_for_a_run(run):
    result = run(SEARCH, "--collect-only", "-q", "--triton-strategy=optuna")
    assert ids_of(result) == ["trial-01", "trial-02", "trial-03", "trial-04", "best"]


def test_candidates_are_the_same_in_every_run(run):
    first, second = (run(SEARCH, "--collect-only", "-q").outlines[:-1] for _ in range(2))
    assert first == second


def test_a_list_needs_the_fixture(run):
    result = run("@pytest.mark.triton_load(concurrency=[1, 2])\ndef test_it():\n    pass\n", "--collect-only")
    result.stdout.fnmatch_lines(["*needs the triton_perf fixture*"])


def test_a_test_beside_no_model_must_name_one(run, pytester):
    result = run("def test_it(triton_perf):\n    triton_perf()\n", folder=pytester.path)
    result.stdout.fnmatch_lines(["*test_it: no model is named", "*@pytest.mark.triton_model(*"])
    result.assert_outcomes(errors=1)


def test_a_test_in_no_repository_must_name_one(run, pytester):
    test = '@pytest.mark.triton_model("identity")\ndef test_it(triton_perf):\n    triton_perf()\n'
    result = run(test, folder=pytester.mkdir("elsewhere"))
    result.stdout.fnmatch_lines(["*no model repository: test_elsewhere.py lies *", "*--triton-repository*"])
    result.assert_outcomes(errors=1)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--triton-inconclusive=maybe"], "*--triton-inconclusive=maybe is not one of warn, fail, pass*"),
        (["--triton-max-duration=0s"], "*--triton-max-duration=0s leaves no time for anything*"),
        (["--triton-budget=soon"], "*--triton-budget: 'soon' is not a quantity*"),
    ],
)
def test_bad_option(run, arguments, problem):
    result = run("def test_it():\n    pass\n", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([problem])


def test_header_says_what_was_chosen_and_from_where(run, pytester):
    pytester.makeini("[pytest]\ntriton_inconclusive = fail\n")
    result = run("def test_it():\n    pass\n", "--triton-server=embedded")
    result.stdout.fnmatch_lines(["triton: server embedded (command line), inconclusive fail (ini)"])


def test_markers_and_options_explain_themselves(pytester):
    pytester.runpytest("--markers").stdout.fnmatch_lines(
        [f"@pytest.mark.{name}(*" for name in ("triton_model", "triton_load", "triton_slo", "triton_input")]
    )
    pytester.runpytest("--help").stdout.fnmatch_lines(
        ["*--triton-server=*", "*--triton-apply-best*", "*triton_server *"]
    )
