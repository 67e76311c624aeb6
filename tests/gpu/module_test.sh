#!/usr/bin/env bash
# The CUDA module as a file: one export, no library that a machine without a GPU lacks, a table that can be read there
# too, and an answer to "how many devices" that tells a machine without a driver from one without a GPU.
#   module_test.sh MODULE VERSION
set -euo pipefail
module=$1 version=$2
fail() { echo "FAILED: $*" >&2; exit 1; }

exported=$(nm -D --defined-only "$module" | awk '{print $NF}' | grep -v '^TESSERA_MODULE_0\.1$' | sort | tr '\n' ' ')
[[ $exported == 'tsr_device_module@@TESSERA_MODULE_0.1 ' ]] || fail "exports are: $exported"
readelf -dW "$module" | grep -q 'FLAGS_1.*NODELETE' || fail "NODELETE is not set"
! readelf -dW "$module" | grep -Eq 'NEEDED.*(libcu|libnv|libtessera)' || fail "needs a CUDA library or libtessera"

# Every call of the CUDA runtime or driver by host code goes through gpu/device/device_api.cc; launches of kernels, which
# DeviceApi::Do surrounds, stand beside the kernels.
gpu=$(dirname "$0")/../../gpu
calls=$(grep -nE '\bcu(da)?[A-Z][A-Za-z]+\(' "$gpu"/module.cc "$gpu"/*/*.cc "$gpu"/*/*.h | grep -v '/device/device_api\.cc:' || true)
[[ -z $calls ]] || fail "calls of CUDA past the seam: $calls"

python3 - "$module" "$version" <<'PYTHON'
import ctypes, ctypes.util, sys
class Failure(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int32), ("lost", ctypes.c_int32), ("place_bytes", ctypes.c_int32),
                ("message", ctypes.c_char * 508)]
Count = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.POINTER(ctypes.c_int32), ctypes.POINTER(Failure))
FUNCTIONS = 21
class Table(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("version", ctypes.c_int32), ("reserved", ctypes.c_int32),
                ("build_id", ctypes.c_char_p), ("kind", ctypes.c_char_p), ("architectures", ctypes.c_char_p),
                ("count_devices", Count), ("others", ctypes.c_void_p * (FUNCTIONS - 1))]
function = ctypes.CDLL(sys.argv[1]).tsr_device_module
function.restype = ctypes.POINTER(Table)
table = function().contents
print(table.build_id.decode(), table.kind.decode(), table.architectures.decode())
assert table.struct_size == ctypes.sizeof(Table), (table.struct_size, ctypes.sizeof(Table))
assert table.version == 1, table.version
assert table.kind == b"cuda", table.kind
assert table.build_id.decode().startswith(sys.argv[2] + "-"), table.build_id
assert table.architectures, "no architectures"
assert all(table.others), "a function is missing"

count, failure = ctypes.c_int32(-1), Failure()
code = table.count_devices(ctypes.byref(count), ctypes.byref(failure))
print(code, count.value, failure.message.decode())
try:
    ctypes.CDLL("libcuda.so.1")
    driver = True
except OSError:
    driver = False
if driver:
    assert code == 0 and count.value >= 0, (code, count.value)
else:
    UNSUPPORTED = 12
    assert code == UNSUPPORTED and failure.code == code, (code, failure.code)
    assert failure.lost == 0 and count.value == 0
    assert failure.message[:failure.place_bytes] == b"cuda", failure.message
PYTHON
