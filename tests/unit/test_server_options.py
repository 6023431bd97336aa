"""Options of tritonserver as a candidate names them."""

import pytest

from pytest_triton.errors import AxisError
from pytest_triton.server.options import as_words, check_option, join_words


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("cache_config", "cache_config"),
        ("--cache-config", "cache_config"),
        ("an_option_of_a_newer_triton", "an_option_of_a_newer_triton"),
    ],
)
def test_an_option_goes_by_one_name(written: str, name: str):
    assert check_option(written) == name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cache_confg", "did you mean 'cache_config'"),
        ("http_port", "is no axis"),
        ("model-control-mode", "is no axis"),
        ("two words", "has no option"),
        ("", "has no option"),
    ],
)
def test_what_is_no_option_is_refused(name: str, said: str):
    with pytest.raises(AxisError) as caught:
        check_option(name)
    assert said in str(caught.value)


def test_values_become_words():
    options = {"rate_limit": "execution_count", "http_thread_count": 4, "enable_peer_access": False, "id": None}
    assert as_words(options) == ["--rate-limit=execution_count", "--http-thread-count=4", "--enable-peer-access=false"]
    assert as_words({"backend_config": ["a,b=1", "a,c=2"]}) == ["--backend-config=a,b=1", "--backend-config=a,c=2"]
    assert as_words({"disable_auto_complete_config": True}) == ["--disable-auto-complete-config"]
    assert as_words({"disable_auto_complete_config": False}) == []


def test_a_candidate_has_its_way_and_leaves_the_rest_to_the_user():
    user = ["--rate-limit", "off", "--cache-config=local,size=1", "--backend-config=python,x=1", "--log-verbose=1"]
    options = {"rate_limit": "execution_count", "cache_config": "local,size=2", "backend_config": "python,y=3"}
    assert join_words(user, options) == [
        "--backend-config=python,x=1",
        "--log-verbose=1",
        "--rate-limit=execution_count",
        "--cache-config=local,size=2",
        "--backend-config=python,y=3",
    ]
    # None goes back to Triton's own.
    assert join_words(user[:2], {"rate_limit": None}) == []
