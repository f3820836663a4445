from churn.text import columns


def test_each_column_is_as_wide_as_its_widest_cell() -> None:
    assert columns([("NAME", "AGE"), ("a", "7"), ("longer", "")]) == ["NAME    AGE", "a       7", "longer"]
