"""A drafted schema reads, fits the table it was drafted from, and marks what a person must decide."""

import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from churn.draft_schema import draft, flow, main, option, snake, snake_names
from churn.read_table import read_table
from churn.schema import Schema, read_schema
from churn.script import InputError
from stages.load import load
from stages.validate import Validation, validate

TELCO = Path("../shared/data/telco_customer_churn.csv")
ROWS = 200
ROW = np.arange(ROWS)
LEFT = ROW % 4 == 0


def table(**columns: Any) -> pd.DataFrame:
    """200 rows with an outcome, one honest number and the given columns, as text like a csv file has them."""
    honest = {"Churn": np.where(LEFT, "Yes", "No"), "Months": ROW * 7 % 60}
    return pd.DataFrame(honest | columns).astype("str")


def drafted(raw: pd.DataFrame, target: str = "Churn") -> Schema:
    return Schema.model_validate(yaml.safe_load(draft(raw, target)))


def line(raw: pd.DataFrame, header: str) -> str:
    """The one line of the draft that speaks of `header`."""
    (found,) = [text for text in draft(raw, "Churn").splitlines() if f"source: {flow([header])[1:-1]}" in text]
    return found.strip().removeprefix("- ")


def checked(raw: pd.DataFrame, schema: Schema) -> Validation:
    loaded, _ = load(raw, schema, Path("t.csv"), {})
    return validate(loaded, schema, max_null_share=1, min_class_share=0, max_outlier_share=1, leak_auc=1)


def test_a_plain_table_is_drafted_as_a_person_would() -> None:
    raw = table(
        customerID=[f"A{i}" for i in ROW], MonthlyBill=np.where(ROW % 3, "20.5", ""), Plan=np.where(ROW % 3, "S", "L")
    )
    lines = draft(raw, "Churn").splitlines()[3:]
    assert lines == [
        "id: {name: customer_id, source: customerID}  # decide: distinct in every row",
        'target: {name: churned, source: Churn, positive: "Yes", negative: "No"}  '
        "# decide: did 'Yes' (25.0%) leave, and 'No' (75.0%) stay?",
        'missing: [""]',
        "columns:",
        "  - {name: months, source: Months, type: number, min: 0}  # 0 to 59",
        "  - {name: monthly_bill, source: MonthlyBill, type: number, min: 0, nullable: true}  # 20.5 to 20.5",
        "  - {name: plan, source: Plan, type: category, levels: [L, S]}",
    ]


NEAR_UNIQUE = 'why: "near-unique text: 200 distinct values in 200 rows"}  # decide: numbers but for 1 of 200 values'
EVERY = [7 * i % 211 for i in ROW]  # whole numbers that are no row numbers
MARKS: dict[str, tuple[Any, str]] = {
    "yes and no": (np.where(ROW % 2, "yes", "NO"), 'type: boolean, positive: "yes", negative: "NO"}'),
    "true booleans": (np.where(ROW % 2, True, False), 'type: boolean, positive: "True", negative: "False"}'),
    "0 and 1": (ROW % 2, 'type: boolean, positive: "1", negative: "0"}'),
    "spellings": (np.array(["Yes", "yes", "No"])[ROW % 3], 'type: boolean, positive: ["Yes", "yes"], negative: "No"}'),
    "yes alone": (np.where(ROW % 2, "yes", ""), 'type: category, levels: ["yes"], nullable: true}'),
    "below zero": (ROW - 50.5, "type: number}  # -50.5 to 148.5"),
    "few, in no order": (
        np.where(LEFT, 1, ROW % 3),
        "type: number, min: 0}  # 0 to 2; decide: only 3 distinct values, and churn does not rise or fall with them:",
    ),
    "ja and nein": (np.where(ROW % 2, "ja", "nein"), 'type: boolean, positive: "ja", negative: "nein"}'),
    "words that begin with a zero": (np.where(ROW % 2, "0kM", "01a"), 'type: category, levels: ["01a", "0kM"]}'),
    "notes of few": (
        [f"note {i}" if i % 5 == 0 else "" for i in ROW],
        'why: "near-unique text: 40 distinct values',
    ),
    "codes": (np.where(ROW % 2, "007", "12"), 'type: category, levels: ["007", "12"]}  # decide: leading zeros'),
    "a stray text": (np.where(ROW == 9, "abc", np.array(EVERY).astype(str)), NEAR_UNIQUE),
    "stray texts": (
        np.where(ROW % 50, ROW % 90, "a"),
        "type: category}  # 91 levels, learned; rare ones count as one; decide: numbers but for 4",
    ),
    "cases": (
        np.array(["a", "A", "b"])[ROW % 3],
        "type: category, levels: [a, b], merge: {a: [A]}}  # decide: spellings of one",
    ),
    "a number for missing ones": (
        np.where(ROW % 8, ROW % 28, 999),
        "type: number, min: 0}  # 0 to 999; decide: does 999 mean missing? then list it under missing:",
    ),
    "-1 for missing ones": (
        np.where(ROW % 8, ROW % 28, -1),
        "type: number}  # -1 to 27; decide: does -1 mean missing? then list it under missing:",
    ),
    "99 among few": (
        np.where(ROW % 8, ROW % 5 + 1, 99),
        "type: number, min: 0}  # 1 to 99; decide: does 99 mean missing? then list it under missing:",
    ),
    "99999.0 for missing ones": (
        np.where(ROW % 8, ROW % 28, 99999.0).astype(str),
        "type: number, min: 0}  # 0 to 99999; decide: does 99999.0 mean missing?",
    ),
    "changes below 0": (ROW % 28 - 2, "type: number}  # -2 to 25"),
    "a constant number": (np.where(ROW < 0, 0, 80), "type: number, min: 0}  # 80 to 80; decide: constant, tells"),
    "grades": (
        np.array(["A", "A+", "A-", "-1", "1", "1.5", "15"])[ROW % 7],
        'type: category, levels: ["-1", "1", "1.5", "15", A, "A+", A-]}',
    ),
    "constant": (
        np.where(ROW < 0, "", "x"),
        "type: category, levels: [x]}  # decide: constant, tells nothing; drop it?",
    ),
    "nothing": (np.where(ROW < 0, "x", ""), "why: all values are missing}"),
    "date": (
        np.where(ROW % 2, "2024-01-05", "2024-01-06"),
        "type: date}  # decide: is it the day of the row? then name",
    ),
    "German date": (
        np.where(ROW % 2, "25.12.2023", "06.01.2024"),
        'type: date, format: "%d.%m.%Y"}  # decide: is it the day of the row',
    ),
    "a date of eight digits": (
        np.where(ROW % 2, "20231225", "20240106"),
        'type: date, format: "%Y%m%d"}  # decide: is it the day of the row',
    ),
    "a date with gaps": (np.where(ROW % 3, "2024-01-05", ""), "type: date, nullable: true}"),
    "a date of two readings": (
        np.where(ROW % 2, "05/12/2023", "06/01/2024"),
        'type: date, format: "%d/%m/%Y"}  # decide: format %d/%m/%Y or %m/%d/%Y? all days are below 13; decide: is it',
    ),
    "money": (
        [f"${1000.5 + 7 * i % 211:,.2f}" for i in ROW],
        'type: number, min: 0, thousands: ",", strip: ["$"]}  # 1000.5 to 1210.5; decide: numbers as \'$1,000.50\'',
    ),
    "debts": (
        [f"{'-' * (i % 2)}€{1000.5 + 7 * i % 211:,.2f}" for i in ROW],
        'type: number, thousands: ",", strip: ["€"]}  # -1203.5 to 1210.5; decide: numbers as \'€1,000.50\'',
    ),
    "percent and gaps": (
        [f"{i % 37}%" if i % 5 else "" for i in ROW],
        'type: number, min: 0, strip: ["%"], nullable: true}  # 0 to 36; dec',
    ),
    "German money": (
        [f"{i}.{i % 10}00,5 €" for i in range(1, 201)],
        'type: number, min: 0, decimal: ",", thousands: ".", strip: ["€"]}  # 1100.5 to 200000.5; decide: numbers as',
    ),
    "thousands or a decimal comma": (
        [f"{1 + i % 9},{100 + i}" for i in ROW],
        "type: number, min: 0, thousands: \",\"}  # 1100 to 9297; decide: numbers as '1,100'; read as they are meant?; "
        "decide: is the comma one of thousands, or a decimal one?",
    ),
    "numbers in words": (
        np.where(ROW == 9, "forty six", np.array(EVERY).astype(str)),
        "type: number, min: 0, merge: {\"46\": [forty six]}}  # 0 to 210; decide: numbers as '0'; read",
    ),
    "names with numbers": (
        [f"Pat Example{i % 40}" for i in ROW],
        "type: category}  # 40 levels, learned; rare ones count",
    ),
    "row numbers": (ROW, "why: row numbers}"),
    "an id of digits": ([700_000_000 + 7919 * i % 1_000_000 for i in ROW], 'why: "distinct in every row, like an id"}'),
    "missing tells": (
        np.where(LEFT, "", "5.5"),
        "type: number, min: 0, nullable: true}  # 5.5 to 5.5; decide: whether it is",
    ),
    "a leak of one in ten": (
        np.where((ROW % 20 == 0) ^ LEFT, "b", "a"),
        "type: category, levels: [a, b]}  # decide: alone it tells the outcome",
    ),
    "leak": (np.where(LEFT, "gone", "here"), "type: category, levels: [gone, here]}  # decide: alone it tells"),
    "leaking number": (np.where(LEFT, ROW + 99.5, ROW / 8), "type: number, min: 0}  # 0.125 to 295.5; decide: alone"),
    "many levels": ([f"{i}@x" for i in ROW // 2 * 2], "type: category}  # 100 levels, learned"),
    "traps of YAML": (
        np.array(["null", "~", "1e3", "a: b", "#c", "2024-01-01", "]"])[ROW % 7],
        "type: category, levels:",
    ),
}


@pytest.mark.parametrize(("values", "starts"), MARKS.values(), ids=MARKS)
def test_a_column_gets_its_type_and_its_mark(values: Any, starts: str) -> None:
    raw = table().assign(Thing=pd.Series(values, dtype=object))
    # a first id: else the near-unique texts would be taken for one
    raw = pd.concat([pd.Series([f"c{i}" for i in ROW], name="id"), raw], axis=1)
    assert line(raw, "Thing").partition("source: Thing, ")[2].startswith(starts), line(raw, "Thing")
    assert checked(raw, drafted(raw)).errors == []


@pytest.mark.parametrize(
    "values",
    [ROW % 3, ROW % 2 + 1, np.where(LEFT, 3 + ROW // 4 % 2, ROW % 5), np.where(LEFT, ROW // 4 % 2, ROW % 5)],
    ids=["by chance", "two", "rising", "falling"],
)
def test_few_numbers_are_no_category_where_churn_goes_by_their_order_or_not_by_them(values: Any) -> None:
    assert "a category?" not in line(table(Visits=values), "Visits")


@pytest.mark.parametrize(
    "header", ["Churn Reason", "CLTV", "CancellationDate2", "EndDate", "Churn Score", "risk_score"]
)
def test_a_name_that_smells_of_the_future_is_marked(header: str) -> None:
    assert "decide: by its name known only after the customer left?" in line(table(**{header: ROW % 17 + 0.5}), header)


@pytest.mark.parametrize(
    "header",
    ["credit_score", "account_length", "products_number", "satisfaction_score", "previous_month_end_balance", "tenure"],
)
def test_an_honest_name_is_not_marked(header: str) -> None:
    assert "decide" not in line(table(**{header: ROW % 17 + 0.5}), header)


@pytest.mark.parametrize("header", ["zip", "Postcode", "branch_code", "region_code"])
def test_a_code_is_asked_whether_it_is_a_category(header: str) -> None:
    assert "decide: by its name a code, so a category?" in line(table(**{header: 10_000 + ROW % 70}), header)


def test_row_numbers_are_dropped_and_the_second_column_that_is_distinct_in_every_row_is_too() -> None:
    raw = table(Row=ROW, customerId=ROW + 9000, token=[f"t{i}" for i in ROW])
    schema = drafted(raw)
    assert schema.id is not None
    assert (schema.id.name, list(schema.dropped)) == ("customer_id", ["Row", "token"])


def test_numbers_of_rows_that_were_drawn_are_row_numbers() -> None:
    schema = drafted(table(**{"Unnamed: 0": ROW * 7 % 211}))
    assert (schema.dropped, schema.id) == ({"Unnamed: 0": "row numbers"}, None)


def test_of_two_columns_like_an_id_the_one_called_so_is_it() -> None:
    schema = drafted(table(token=[f"t{i}" for i in ROW], customer_id=[f"c{i}" for i in ROW]))
    assert schema.id is not None and (schema.id.source, list(schema.dropped)) == (("customer_id",), ["token"])


def test_numbers_that_happen_to_be_distinct_are_no_id() -> None:
    assert drafted(table(Balance=ROW * 1.5, Salary=EVERY)).id is None


def test_whole_numbers_that_rise_from_row_to_row_are_an_id_where_there_is_no_other() -> None:
    schema = drafted(table(Nr=ROW * 3 + ROW % 2))
    assert schema.id is not None and schema.id.source == ("Nr",)
    schema = drafted(table(customer_id=[f"c{i}" for i in ROW], Salary=ROW * 3 + ROW % 2))
    assert schema.column("salary").type == "number"


def test_how_many_employees_there_are_is_no_id() -> None:
    assert drafted(table(employee_number=ROW // 2 * 7)).id is None


def test_an_id_that_could_be_dates_of_eight_digits_is_an_id() -> None:
    day = pd.date_range("2023-01-01", periods=ROWS).strftime("%Y%m%d")
    schema = drafted(table(customer_id=day))
    assert schema.id is not None and not schema.id.repeats


def test_a_marker_takes_no_outcome_away_unless_words_say_who_left_and_who_stayed() -> None:
    kinds = np.array(["None", "None", "None", "Voluntary", "Involuntary"])
    visits = np.where(ROW % 7, ROW % 11, "None")
    schema = drafted(table(Churn=kinds[ROW % 5], Visits=visits))
    assert (schema.target.positive, schema.target.negative) == (("Involuntary",), ("None", "Voluntary"))
    left_out = np.array(["Yes", "No", "None"])
    assert [rule.values for rule in drafted(table(Churn=left_out[ROW % 3], Visits=visits)).leave_out] == [("",)]


def test_what_only_customers_without_an_outcome_lack_may_be_missing() -> None:
    raw = table(Churn=np.array(["Yes", "No", ""])[ROW % 3], Bill=np.where(ROW % 3 == 2, "", "20.5"))
    assert drafted(raw).column("bill").nullable


def test_row_numbers_stay_such_above_a_last_line_of_blanks() -> None:
    raw = table(Row=ROW)
    raw.loc[ROWS] = ""
    assert drafted(raw).dropped == {"Row": "row numbers"}


def test_an_id_in_several_rows_is_one_that_repeats() -> None:
    schema = drafted(table(customer_id=[f"A{i % 50}" for i in ROW], Plan=np.where(ROW % 3, "S", "L")))
    assert schema.id is not None
    assert (schema.id.name, schema.id.repeats) == ("customer_id", True)


def test_an_id_in_a_few_rows_more_than_one_is_one_that_repeats() -> None:
    schema = drafted(table(customer_id=np.where(ROW % 20, ROW * 7 + 1000, 1007), Plan=np.where(ROW % 3, "S", "L")))
    assert schema.id is not None and schema.id.repeats


def test_a_row_of_blanks_without_outcome_changes_no_column_and_no_id() -> None:
    raw = table(CustomerID=ROW * 7.0 + 2, Plan=np.where(ROW % 3, "S", "L"))
    raw.loc[20] = ""
    schema = drafted(raw)
    assert schema.id is not None and schema.id.source == ("CustomerID",)
    assert [column.nullable for column in schema.columns] == [False, False]
    assert checked(raw, schema).errors == []


def test_a_customer_id_with_gaps_is_a_column_of_another_name() -> None:
    raw = table(customer_id=np.where(ROW % 20, ROW * 7 + 1000, ""), Plan=np.where(ROW % 3, "S", "L"))
    assert drafted(raw).column("customer_id_2").source == ("customer_id",)
    assert checked(raw, drafted(raw)).errors == []


def test_a_column_as_of_gets_a_name_that_is_not_the_day_s_in_requests() -> None:
    raw = table(as_of=np.where(ROW % 2, "2024-01-30", "2024-01-31"))
    assert drafted(raw).column("as_of_2").source == ("as_of",)


def test_the_newest_date_that_is_not_in_the_future_is_the_day_of_the_table() -> None:
    raw = table(
        joined=np.where(ROW % 2, "2023-05-01", "2024-02-29"), ends=np.where(ROW % 2, "2190-01-01", "2023-06-01")
    )
    assert str(drafted(raw).as_of) == "2024-02-29"
    assert '"2024-02-29"  # decide: the day that the table describes?' in draft(raw, "Churn")


def test_the_day_on_which_customers_left_is_not_the_day_of_the_table() -> None:
    raw = table(joined=np.where(ROW % 2, "2023-05-01", "2024-02-29"), ends=np.where(LEFT, "2024-04-01", ""))
    assert str(drafted(raw).as_of) == "2024-02-29"


def test_copies_apart_from_the_id_and_other_sheets_are_asked_about() -> None:
    raw = table(Bill=ROW * 1.37 + 5, Plan=np.where(ROW % 3, "S", "L"))
    twins = pd.concat([raw, raw]).reset_index(drop=True)
    twins.insert(0, "id", [f"A{i}" for i in range(2 * ROWS)])
    text = draft(twins, "Churn", ["is 'Info' the sheet?"])
    assert (
        "# decide: is 'Info' the sheet?\n# decide: 200 of 400 rows repeat an earlier one in every column but the id"
        in text
    )


def test_an_id_is_found_behind_copies_of_whole_rows() -> None:
    raw = table(customerID=[f"A{i}" for i in ROW])
    schema = drafted(pd.concat([raw, raw.head(3)], ignore_index=True))
    assert schema.id is not None and schema.id.source == ("customerID",)


def test_a_marker_between_numbers_means_missing_and_others_are_marked() -> None:
    raw = table(Bill=np.where(ROW % 2, "n/a", "20.5"), Region=np.where(ROW % 3, "None", "EU"))
    text = draft(raw, "Churn")
    assert "missing: [\"\", n/a]  # decide: does it mean missing too? 'None' in column 'Region'" in text
    assert drafted(raw).column("bill").nullable
    assert drafted(raw).column("region").levels == ("EU", "None")


def test_a_marker_that_is_an_outcome_stays_one() -> None:
    raw = table(Bill=np.where(ROW % 2, "-", "20.5")).assign(Churn=np.where(LEFT, "+", "-"))
    assert drafted(raw).missing == ("",)
    assert checked(raw, drafted(raw)).errors == []


def test_a_marker_beside_two_outcomes_means_a_missing_one() -> None:
    raw = table(Bill=np.where(ROW % 9, "20.5", "NA")).assign(Churn=np.array(["Yes", "No", "NA"])[ROW % 3])
    schema = drafted(raw)
    assert (schema.missing, schema.column("bill").type) == (("", "NA"), "number")
    assert [(rule.values, rule.why) for rule in schema.leave_out] == [(("",), "no outcome")]
    assert checked(raw, schema).errors == []


@pytest.mark.parametrize(
    ("values", "positive", "negative"),
    [
        (["Stayed", "Churned", "Stayed"], ("Churned",), ("Stayed",)),
        (
            ["Existing Customer", "Attrited Customer", "Existing Customer"],
            ("Attrited Customer",),
            ("Existing Customer",),
        ),
        (["0", "1", "0"], ("1",), ("0",)),
        (["False", "True", "False"], ("True",), ("False",)),
        (["a", "a", "b"], ("b",), ("a",)),
    ],
)
def test_who_left_is_guessed(values: list[str], positive: tuple[str, ...], negative: tuple[str, ...]) -> None:
    target = drafted(table().assign(Churn=np.array(values)[ROW % 3])).target
    assert (target.positive, target.negative) == (positive, negative)


@pytest.mark.parametrize(
    ("header", "positive"),
    [("Subscriber", "no"), ("is_active", "no"), ("Retained", "no"), ("Exited", "yes"), ("Churn", "yes"),
     ("left", "yes"), ("Subscription cancelled", "yes")],
)  # fmt: skip
def test_yes_means_what_the_header_asks_and_both_shares_are_told(header: str, positive: str) -> None:
    raw = table(**{header: np.where(LEFT, "yes", "no")})
    assert drafted(raw, header).target.positive == (positive,)
    other = "no" if positive == "yes" else "yes"
    share = {"yes": "25.0%", "no": "75.0%"}
    question = f"# decide: did '{positive}' ({share[positive]}) leave, and '{other}' ({share[other]}) stay?"
    assert question in draft(raw, header)


def test_a_third_outcome_and_rows_without_one_are_left_out_with_a_mark() -> None:
    raw = table().assign(Churn=np.array(["Stayed", "Churned", "Joined", ""])[ROW % 4])
    schema = drafted(raw)
    assert [(rule.values, rule.why) for rule in schema.leave_out] == [
        (("",), "no outcome"),
        (("Joined",), "outcome Joined"),
    ]
    assert "why: outcome Joined}  # decide: neither of both?" in draft(raw, "Churn")
    assert checked(raw, schema).errors == []
    assert checked(raw, schema).stats["rows"] == ROWS / 2


@pytest.mark.parametrize("values", [["Yes"], [""], [str(i) for i in range(11)]])
def test_a_target_that_is_none_is_refused(values: list[str]) -> None:
    with pytest.raises(InputError, match=r"column 'Churn' has \d+ distinct values.*; a target needs one for customers"):
        draft(table().assign(Churn=np.array(values)[ROW % len(values)]), "Churn")


def test_a_target_that_is_not_there_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(InputError, match=r"no column 'Chrn' \(did you mean 'Churn'\?\); it has \['Churn', 'Months'\]"):
        draft(table(), "Chrn")


def test_a_table_without_features_is_refused() -> None:
    with pytest.raises(InputError, match="could be a feature"):
        draft(table().drop(columns="Months"), "Churn")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("customerID", "customer_id"),
        ("StreamingTV", "streaming_tv"),
        ("Churn Reason", "churn_reason"),
        ("HTTPServer2Count", "http_server2_count"),
        ("Größe (m²)", "grosse_m2"),
        ("1st", "column_1st"),
        ("顧客", "column"),
        ("", "column"),
    ],
)
def test_names_are_snake_case(header: str, name: str) -> None:
    assert snake(header) == name


@given(st.lists(st.text("aA b_1é", max_size=4) | st.sampled_from(["churned", "Churned", "x"]), min_size=1, unique=True))
def test_a_name_is_no_other_column_s_name_or_header(headers: list[str]) -> None:
    names = snake_names(headers, headers[0])
    assert list(names) == sorted(names, key=lambda header: header != headers[0])
    assert set(names) == set(headers)
    assert len(set(names.values())) == len(headers)
    for header, name in names.items():
        assert re.fullmatch("[a-z][a-z0-9_]*", name)
        assert name == header or name not in headers
        assert name != "churned" or header == headers[0]


@pytest.mark.slow
@given(st.lists(st.text(), max_size=5))
def test_any_text_is_one_line_of_yaml_that_reads_back(texts: list[str]) -> None:
    line = flow({"levels": texts})
    assert len(line.splitlines()) == 1
    assert yaml.safe_load(line) == {"levels": texts}
    assert yaml.safe_load(f"a:\n  - {line}  # remark\n") == {"a": [{"levels": texts}]}


@pytest.mark.parametrize(
    "text", ["Yes", "no", "1", "null", "2024-01-01", "a: b", "- a", "#", "", "on", "y", "1e3", "~"]
)
def test_texts_that_yaml_takes_for_something_else_are_quoted(text: str) -> None:
    assert flow([text]) == f'["{text}"]'


CELL = st.one_of(
    st.none(),
    st.integers(-9, 9).map(str),
    st.floats().map(str),
    st.sampled_from(
        ["Yes", "no", "NA", "?", "-", "", " ", "007", "2024-01-01", "a,b", 'a"b', "1e999", "#x", "{}", "nan"]
    ),
    st.text(max_size=5),
)


@pytest.mark.parametrize(
    ("cell", "why"), [("1600000000000000000", "numbers beyond ±1e+15"), ("x" * 201, "texts of more")]
)
def test_what_the_service_would_refuse_is_left_out_with_a_mark(cell: str, why: str) -> None:
    raw = pd.DataFrame({"Churn": ["Yes", "No"] * 20, "seen": [cell, cell[:-1] + "7"] * 20, "kept": ["1", "2"] * 20})
    schema = drafted(raw)
    assert [column.name for column in schema.columns] == ["kept"]
    assert schema.dropped["seen"].startswith(why)
    assert "decide: " in line(raw, "seen")
    assert checked(raw, schema).errors == []


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(
    st.lists(st.tuples(st.sampled_from(["Yes", "No", "-", "1"]), CELL, CELL, CELL), min_size=2, max_size=8),
    st.lists(st.text(max_size=4), min_size=3, max_size=3, unique_by=lambda header: header.lstrip("\ufeff").strip()),
)
def test_the_draft_of_any_table_reads_and_fits_that_table(rows: list[tuple[Any, ...]], headers: list[str]) -> None:
    raw = pd.DataFrame(rows, columns=["Churn", *headers], dtype=object)
    assume("Churn" not in {header.lstrip("\ufeff").strip() for header in headers})
    try:
        schema = drafted(raw)
    except InputError as error:
        assert re.search("could be a feature|a target needs", str(error))
        return
    assert checked(raw, schema).errors == []
    assert all(read.type in ("number", "boolean", "category", "date") for read in schema.columns)


@pytest.mark.skipif(not TELCO.exists(), reason="the real table is not beside the repository")
def test_the_draft_of_the_real_table_says_what_the_written_schema_says(tmp_path: Path) -> None:
    raw = read_table(TELCO, {})
    (tmp_path / "my.yaml").write_text(draft(raw, "Churn"))
    schema, telco = read_schema(tmp_path / "my.yaml"), read_schema(Path("schemas/telco.yaml"))
    assert (schema.id, schema.target) == (telco.id, telco.target)
    said = ("name", "source", "type", "levels", "positive", "negative", "nullable", "min")
    assert [c.model_dump(include=set(said)) for c in schema.columns] == [
        c.model_dump(include=set(said)) for c in telco.columns
    ]
    assert checked(raw, schema).errors == []


def test_the_command_writes_a_schema_with_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "my.csv"
    table(Größe=ROW % 50).to_csv(path, sep="|", index=False)
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")  # a terminal that speaks no UTF-8
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "argv", ["draft_schema", str(path), "--target", "Churn", "--options", "sep=|"])
    main()
    written = out.buffer.getvalue().decode()
    assert written.startswith('# params.yaml needs data.options: {sep: "|"}\n')
    assert yaml.safe_load(written)["columns"][1] == {"name": "grosse", "source": "Größe", "type": "number", "min": 0}


def test_an_option_that_is_wanted_is_one_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "my.csv"
    table().to_csv(path, sep=";", index=False)
    monkeypatch.setattr(sys, "argv", ["draft_schema", str(path), "--target", "Churn"])
    with pytest.raises(InputError, match=r"set data.options to {sep: ';'}.*; here by --options KEY=VALUE"):
        main()


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("sep=;", ("sep", ";")),
        ("sep=|", ("sep", "|")),
        ("sep=,", ("sep", ",")),
        (r"sep=\t", ("sep", "\t")),
        ("sep==", ("sep", "=")),
        ("header=0", ("header", 0)),
        ("names=[a, b]", ("names", ["a", "b"])),
        ("encoding=latin-1", ("encoding", "latin-1")),
    ],
)
def test_an_option_is_what_it_looks_like(text: str, read: tuple[str, Any]) -> None:
    assert option(text) == read


@pytest.mark.slow
def test_a_missing_table_is_one_line_and_status_1(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "churn.draft_schema", "none.csv", "--target", "Churn"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "draft_schema: none.csv is missing; set data.path to a table\n"
