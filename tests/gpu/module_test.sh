#!/usr/bin/env bash
# The CUDA module as a file: one export, no library that a machine without a GPU lacks, and a description that can be
# read there too.
#   module_test.sh MODULE VERSION
set -euo pipefail
module=$1 version=$2
fail() { echo "FAILED: $*" >&2; exit 1; }

exported=$(nm -D --defined-only "$module" | awk '{print $NF}' | grep -v '^TESSERA_MODULE_0\.1$' | sort | tr '\n' ' ')
[[ $exported == 'tsr_module_describe@@TESSERA_MODULE_0.1 ' ]] || fail "exports are: $exported"
readelf -dW "$module" | grep -q 'FLAGS_1.*NODELETE' || fail "NODELETE is not set"
! readelf -dW "$module" | grep -Eq 'NEEDED.*(libcuda|libcudart|libtessera)' || fail "needs a CUDA library or libtessera"

python3 - "$module" "$version" <<'PYTHON'
import ctypes, sys
class Description(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("build_id", ctypes.c_char_p), ("version", ctypes.c_char_p),
                ("architectures", ctypes.c_char_p), ("cuda_runtime", ctypes.c_int32), ("reserved", ctypes.c_int32)]
describe = ctypes.CDLL(sys.argv[1]).tsr_module_describe
describe.restype = ctypes.POINTER(Description)
found = describe().contents
print(found.build_id.decode(), found.version.decode(), found.architectures.decode(), found.cuda_runtime)
assert found.struct_size == ctypes.sizeof(Description), found.struct_size
assert found.version.decode() == sys.argv[2], found.version
assert found.build_id.startswith(found.version), found.build_id
assert found.architectures, "no architectures"
assert found.cuda_runtime >= 12000, found.cuda_runtime
PYTHON
