import pytest

from portfolios.kernel.codes import fault_of, market_of


@pytest.mark.parametrize(
    ("code", "market"),
    [("600519.SH", "cn"), ("000001.SZ", "cn"), ("430047.BJ", "cn"), ("00700.HK", "hk"), ("AAPL.US", "us"),
     ("BRK.B.US", "us"), ("IF2612.CFX", "futures")],
)  # fmt: skip
def test_a_well_formed_code_belongs_to_its_market(code, market):
    assert market_of(code) == market
    assert fault_of(code, market) is None


@pytest.mark.parametrize(
    "code", ["60051.SH", "600519", "600519.sh", "600519.SH ", "", "700.HK", "aapl.US", None, 600519]
)
def test_an_ill_formed_code_is_refused_with_an_example(code):
    assert "such as" in str(fault_of(code, "cn"))


def test_a_code_of_another_market_is_refused():
    assert "market us" in str(fault_of("AAPL.US", "cn"))
