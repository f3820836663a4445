"""An expression over columns, in Python's words: contract == "Month-to-month" and tenure >= 3 and region in ("N", "S").

It is parsed and never run: names, texts, numbers, comparisons, `in`, `is None`, `and`, `or`, `not`. As in SQL, what is
compared with a missing value is neither true nor false.
"""

import ast
from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn.script import InputError
from churn.text import quoted

COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}


class Unknown(Exception):
    """A part of an expression that has no meaning here."""


def parsed(text: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"--where {quoted(text)}: {getattr(error, 'msg', error)}") from None


def names_in(text: str) -> set[str]:
    """The columns that an expression reads."""
    return {node.id for node in ast.walk(parsed(text)) if isinstance(node, ast.Name)} if text else set()


def holds(text: str, table: pa.Table) -> np.ndarray:
    """bool (n,): for which rows of a table the expression is true."""
    try:
        found = evaluated(parsed(text), table)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, TypeError) as error:
        reason = str(error).splitlines()[0].partition(", available")[0]
        raise InputError(f"--where {quoted(text)}: {reason}") from None
    except Unknown as error:
        raise InputError(f"--where {quoted(text)}: {error}") from None
    if not isinstance(found, pa.ChunkedArray) or found.type != pa.bool_():
        raise InputError(f"--where {quoted(text)} is neither true nor false; compare a column with a value")
    return found.fill_null(False).to_numpy()


def evaluated(node: ast.expr, table: pa.Table) -> Any:
    """A column, or a plain value."""
    match node:
        case ast.Name(id=name):
            return table[name]
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return pc.invert(evaluated(operand, table))
        case ast.BoolOp(op=op, values=parts):
            joined = pc.and_kleene if isinstance(op, ast.And) else pc.or_kleene
            return reduce(joined, [evaluated(part, table) for part in parts])
        case ast.Compare(left=left, ops=operators, comparators=others):
            pairs = zip(pairwise([left, *others]), operators, strict=True)
            return reduce(pc.and_kleene, [compared(one, operator, other, table) for (one, other), operator in pairs])
    raise Unknown(f"{ast.unparse(node)} is no column, text, number or comparison")


def compared(left: ast.expr, operator: ast.cmpop, right: ast.expr, table: pa.Table) -> Any:
    column = evaluated(left, table)
    match operator, right:
        case ast.Is(), ast.Constant(value=None):
            return pc.is_null(column)
        case ast.IsNot(), ast.Constant(value=None):
            return pc.is_valid(column)
        case ((ast.In() | ast.NotIn()), (ast.Tuple(elts=[_, *_] as parts) | ast.List(elts=[_, *_] as parts))):
            is_one = reduce(pc.or_kleene, [pc.equal(column, evaluated(part, table)) for part in parts])
            return is_one if isinstance(operator, ast.In) else pc.invert(is_one)
    if type(operator) not in COMPARISONS:
        raise Unknown(f"{ast.unparse(ast.Compare(left, [operator], [right]))} is no comparison")
    return COMPARISONS[type(operator)](column, evaluated(right, table))
