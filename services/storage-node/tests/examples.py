"""Values of the protocol's own types, so that a test can make a call of every method without a list of its own."""

from typing import Any

import msgspec
from msgspec import inspect

from liteio_drives.remote.messages import METHODS


def arguments_of(method: str) -> Any:
    """Arguments that the node decodes, as small as the types allow."""
    arguments = example(inspect.type_info(METHODS[method].arguments))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(arguments), type=METHODS[method].arguments) is not None
    return arguments


def example(kind: Any) -> Any:
    match kind:
        case inspect.Metadata(type=inner):
            return example(inner)
        case inspect.NoneType() | inspect.AnyType():
            return None
        case inspect.BoolType():
            return False
        case inspect.IntType(ge=least, gt=beyond):
            return least if least is not None else beyond + 1 if beyond is not None else 1
        case inspect.FloatType():
            return 1.0
        case inspect.StrType(min_length=length):
            return "s" * (length or 1)
        case inspect.BytesType(min_length=length):
            return b"b" * (length or 1)
        case inspect.EnumType(cls=choices):
            return next(iter(choices)).value
        case inspect.UnionType(types=types):
            return example(next(one for one in types if not isinstance(one, inspect.NoneType)))
        case inspect.TupleType(item_types=types):
            return tuple(map(example, types))
        case (
            inspect.VarTupleType(item_type=item, min_length=length)
            | inspect.ListType(item_type=item, min_length=length)
        ):
            return [example(item)] * (length or 1)
        case inspect.DictType():
            return {}
        case inspect.NamedTupleType(fields=fields) | inspect.StructType(fields=fields):
            return [example(field.type) for field in fields]
    raise AssertionError(f"no example of {kind!r}")
