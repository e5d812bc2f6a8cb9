"""The benchmark runs: one small case, so that a change that breaks it is noticed before somebody wants figures."""

import pytest

from bench.__main__ import main


def test_a_small_benchmark_ends_with_a_row_a_case_and_the_limits_it_was_measured_against(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--runs", "1", "--cases", "many", "--modules", "bare", "--items", "20"])

    table = capsys.readouterr().out
    assert "| 2 runs of 5 steps at once | bare |" in table
    assert "| first run of 1 step | bare |" in table
    assert "| SQLite commit, WAL, synchronous=FULL |" in table
