"""What is wrong with a suite or a hosts file, in the words of such files instead of msgspec's."""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import inspect

from bench import suggest

#: As msgspec says where; what it says of what is wrong there is put into words anew from the type.
_WHERE: Final = re.compile(r"(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$\.?(?P<path>.*)`)?", re.DOTALL)
_STEP: Final = re.compile(r"(?P<name>\w+)|\[(?P<index>\d+)\]")
_UNKNOWN_FIELD: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING_FIELD: Final = re.compile(r"Object missing required field `(.*)`")
_NO_CHOICE: Final = re.compile(r"Invalid enum value '(.*)'", re.DOTALL)


def explain(error: msgspec.ValidationError, kind: type[msgspec.Struct]) -> str:
    """Explain an error in a line such as "[[matrix]] 1: epochs: expected …"; one that is unforeseen stays msgspec's."""
    match = _WHERE.fullmatch(str(error))
    assert match is not None
    what, path = match["what"], match["path"] or ""
    node: inspect.Type = inspect.type_info(kind)
    places: list[str] = []
    for step in _STEP.finditer(path):
        name, index = step["name"], step["index"]
        if isinstance(node, inspect.StructType):
            node = next(field.type for field in node.fields if field.encode_name == name)
            places.append(name)
        elif isinstance(node, inspect.VarTupleType):
            node = node.item_type
            places[-1] = f"[[{places[-1]}]] {int(index) + 1}" if isinstance(node, inspect.StructType) else places[-1]
    if isinstance(node, inspect.DictType) and (match["key"] or path.endswith("[...]")):
        node = node.key_type if match["key"] else node.value_type
    return ": ".join([*places, _fault(what, node, places[-1] if places else "")])


def _fault(what: str, node: inspect.Type, axis: str) -> str:
    if isinstance(node, inspect.StructType):
        fields = [field.encode_name for field in node.fields]
        if match := _UNKNOWN_FIELD.fullmatch(what):
            return suggest.unknown("field", match[1], fields)
        if match := _MISSING_FIELD.fullmatch(what):
            return f"{match[1]} is missing"
    if isinstance(node, inspect.EnumType) and (match := _NO_CHOICE.fullmatch(what)):
        return suggest.unknown("value", match[1], [each.value for each in node.cls])
    expected = _expected(node, axis)
    return what if expected is None else f"expected {expected}"


def _expected(node: inspect.Type, axis: str) -> str | None:  # noqa: C901  # a case for each kind of type
    words = None
    match node:
        case inspect.VarTupleType(item_type=inspect.StructType()):
            words = f"at least one [[{axis}]]"
        case inspect.VarTupleType(min_length=least):
            words = "a list in brackets" if least is None else "a list in brackets, not an empty one"
        case inspect.StructType(fields=fields):
            words = f"a table of {', '.join(field.encode_name for field in fields)}"
        case inspect.EnumType(cls=kind):
            words = f"one of {', '.join(each.value for each in kind)}, in quotes"
        case inspect.UnionType(types=(kind, inspect.NoneType())):
            words = _expected(kind, axis)
        case inspect.UnionType(types=(number, inspect.LiteralType(values=(word,)))):
            words = f'{_expected(number, axis)}, or "{word}"'
        case inspect.IntType(ge=least, le=most):
            words = f"a whole number of at least {least}, at most {most:,}"
        case inspect.FloatType(ge=least, le=most):
            words = f"a number {'of at least' if least == 0 else 'above'} 0, at most {most:,.0f}"
        case inspect.DictType():
            words = "a table in braces"
        case inspect.BoolType():
            words = "true or false, without quotes"
        case inspect.StrType():
            words = "text in quotes"
    return words
