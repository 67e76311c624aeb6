"""Writes GGUF files. Knows the container, no model."""
import struct

UINT32, FLOAT32, STRING, ARRAY = 4, 6, 8, 9
TYPE_F32, TYPE_F16, TYPE_BF16 = 0, 1, 30
ALIGNMENT = 32


def pack_string(text):
    data = text.encode()
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
