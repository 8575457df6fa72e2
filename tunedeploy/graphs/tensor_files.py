"""Tensors of ONNX test sets (TensorProto), read without the onnx package, which a device lacks."""

RAW = 9  # the field of a TensorProto that holds its values' bytes


def tensor(content: bytes) -> tuple[str, tuple[int, ...], bytes]:
    """Name, shape and bytes of a TensorProto."""
    dims: list[int] = []
    name, values, at = "", b"", 0
    while at < len(content):
        tag, at = _varint(content, at)
        number, wire = tag >> 3, tag & 7
        value, at = _varint(content, at)
        if wire == 0:
            dims += [value] * (number == 1)
            continue
        part, at = content[at : at + value], at + value
        if number == 1:
            dims += _packed(part)
        elif number == 8:
            name = part.decode(errors="replace")
        elif number == RAW:
            values = part
    return name, tuple(dims), values


def _packed(part: bytes) -> list[int]:
    values, at = [], 0
    while at < len(part):
        value, at = _varint(part, at)
        values.append(value)
    return values


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A varint, seven bits a byte, and the offset behind it; a truncated one ends with the content."""
    value = shift = 0
    while at < len(content):
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return value, at
