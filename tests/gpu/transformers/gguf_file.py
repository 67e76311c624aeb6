"""Writes GGUF files, and reads them as far as cutting one needs. Knows the container, no model."""
import struct

UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
TYPE_F32, TYPE_F16, TYPE_BF16 = 0, 1, 30
ALIGNMENT = 32
VALUE_FORMATS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<B",
                 10: "<Q", 11: "<q", 12: "<d"}


def pack_string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(data)) + data


def pad(size):
    return -size % ALIGNMENT


class Writer:
    """Metadata and tensors in the order in which they are added."""

    def __init__(self):
        self.values = []   # (key, type, bytes behind the type)
        self.tensors = []  # (name, shape in GGUF's order, type, a buffer of its bytes)

    def raw(self, key, kind, body):
        self.values.append((key, kind, body))

    def uint32(self, key, value):
        self.raw(key, UINT32, struct.pack("<I", value))

    def float32(self, key, value):
        self.raw(key, FLOAT32, struct.pack("<f", value))

    def string(self, key, value):
        self.raw(key, STRING, pack_string(value))

    def strings(self, key, values):
        self.raw(key, ARRAY, struct.pack("<IQ", STRING, len(values)) + b"".join(map(pack_string, values)))

    def tensor(self, name, shape, kind, data):
        self.tensors.append((name, shape, kind, memoryview(data).cast("B")))

    def build(self):
        """The file, as a bytearray."""
        head = bytearray(struct.pack("<IIQQ", 0x46554747, 3, len(self.tensors), len(self.values)))
        for key, kind, body in self.values:
            head += pack_string(key) + struct.pack("<I", kind) + body
        offset = 0
        for name, shape, kind, data in self.tensors:
            head += pack_string(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
            head += struct.pack("<IQ", kind, offset)
            offset += len(data) + pad(len(data))
        head += bytes(pad(len(head)))
        out = bytearray(len(head) + offset)
        out[:len(head)] = head
        at = len(head)
        for _, _, _, data in self.tensors:
            out[at:at + len(data)] = data
            at += len(data) + pad(len(data))
        return out


class _Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, form):
        value = struct.unpack_from(form, self.data, self.at)[0]
        self.at += struct.calcsize(form)
        return value

    def bytes(self):
        size = self.number("<Q")
        self.at += size
        return bytes(self.data[self.at - size:self.at])

    def skip_value(self, kind):
        if kind == STRING:
            self.bytes()
        elif kind == ARRAY:
            element, count = self.number("<I"), self.number("<Q")
            for _ in range(count):
                self.skip_value(element)
        else:
            self.at += struct.calcsize(VALUE_FORMATS[kind])


def read(data):
    """A Writer that would build `data`, whose tensors it refers to. For files without general.alignment."""
    cursor, writer = _Cursor(data), Writer()
    magic, version = cursor.number("<I"), cursor.number("<I")
    assert (magic, version) == (0x46554747, 3), (magic, version)
    tensors, values = cursor.number("<Q"), cursor.number("<Q")
    for _ in range(values):
        key, kind = cursor.bytes().decode(), cursor.number("<I")
        assert key != "general.alignment", key
        begin = cursor.at
        cursor.skip_value(kind)
        writer.raw(key, kind, bytes(data[begin:cursor.at]))
    entries = []
    for _ in range(tensors):
        name, dimensions = cursor.bytes().decode(), cursor.number("<I")
        shape = [cursor.number("<Q") for _ in range(dimensions)]
        entries.append((name, shape, cursor.number("<I"), cursor.number("<Q")))
    start = cursor.at + pad(cursor.at)
    ends = sorted({entry[3] for entry in entries} | {len(data) - start})
    for name, shape, kind, offset in entries:
        end = ends[ends.index(offset) + 1]  # with its padding, which is harmless behind the last
        writer.tensor(name, shape, kind, data[start + offset:start + end])
    return writer
