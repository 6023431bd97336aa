"""The docstring of the package, as a script: everything works without pytest."""

from python_models import write_model

from pytest_triton import SLO, Candidate, Case, Effort, EmbeddedServer, Load, Outcome, judge, measure


def test_measure_in_a_script(tmp_path):
    write_model(tmp_path / "models", "identity", dims="[ 4 ]")
    server = EmbeddedServer(tmp_path / "models", output=tmp_path / "out")
    server.start()
    try:
        case = Case(
            Candidate("identity", {"instance_group.count": 2}), Load(concurrency=4), slo=SLO.parse({"p50": "1s"})
        )
        seen = []
        measurement = measure(server, case, effort=Effort(warmup=0.2, seconds=0.5), watch=seen.append)
        (group,) = server.control.configuration("identity").instance_group
    finally:
        server.stop()
    assert group.count == 2
    assert judge(measurement, case.slo).outcome is Outcome.PASS
    assert measurement.metrics["load_time"].value > 0
    assert measurement.metrics["first_request_latency"].value > 0
    assert measurement.metrics["rss"].value > 1e6
    assert {progress.phase for progress in seen} == {"warming up", "measuring"}
