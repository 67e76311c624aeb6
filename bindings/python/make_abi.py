#!/usr/bin/env python3
"""Writes tessera/_abi.py (constants, structures and prototypes for ctypes) from capi/abi/tessera.json.
Usage: make_abi.py [--check]: with it, fails when the file is not what would be written."""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(HERE, "../../capi/abi/tessera.json")
OUTPUT = os.path.join(HERE, "tessera/_abi.py")
SCALARS = {"int8_t": "c_int8", "uint8_t": "c_uint8", "int32_t": "c_int32", "uint32_t": "c_uint32", "int64_t": "c_int64",
           "uint64_t": "c_uint64", "size_t": "c_size_t", "int": "c_int", "float": "c_float", "double": "c_double",
           "char": "c_char", "void": None, "tsr_status": "c_int32"}


def ctype(name, parameter=False):
    """Pointers are untyped, but for text that goes in."""
    if name.endswith("*"):
        return "c.c_char_p" if parameter and name == "const char*" else "c.c_void_p"
    if name in SCALARS:
        return "c." + SCALARS[name] if SCALARS[name] else "None"
    return "".join(word.title() for word in name.split("_")[1:])  # a structure


def text():
    with open(SOURCE, encoding="utf-8") as file:
        abi = json.load(file)
    lines = ['"""Made by make_abi.py from the description of the C ABI: do not edit."""', "", "import ctypes as c", ""]
    lines += ["%s = %d" % (entry["name"][4:], entry["value"]) for entry in abi["constants"]]
    for struct in abi["structs"]:
        lines += ["", "", "class %s(c.Structure):" % ctype(struct["name"]), "    _fields_ = ["]
        for field in struct["fields"]:
            if "callback" in field:
                kinds = [field["callback"]["returns"]] + [p["type"] for p in field["callback"]["parameters"]]
                kind = "c.CFUNCTYPE(%s)" % ", ".join(map(ctype, kinds))
            else:
                kind = ctype(field["type"]) + (" * %d" % field["count"] if "count" in field else "")
            lines.append('        ("%s", %s),' % (field["name"], kind))
        lines.append("    ]")
    lines += ["", "", "# The size of each structure, and the offset of each field, as a C compiler has them.", "LAYOUTS = {"]
    for struct in abi["structs"]:
        offsets = ", ".join('"%s": %d' % (field["name"], field["offset"]) for field in struct["fields"])
        lines.append("    %s: (%d, {%s})," % (ctype(struct["name"]), struct["size"], offsets))
    lines += ["}", "", "# By name: what a function returns and takes.", "FUNCTIONS = {"]
    for function in abi["functions"]:
        takes = ", ".join(ctype(p["type"], True) for p in function["parameters"])
        lines.append('    "%s": (%s, [%s]),' % (function["name"], ctype(function["returns"]), takes))
    return "\n".join(lines + ["}", ""])


def main():
    if sys.argv[1:] == ["--check"]:
        with open(OUTPUT, encoding="utf-8") as file:
            if file.read() != text():
                sys.exit("tessera/_abi.py differs from the description of the ABI: run make_abi.py")
    else:
        with open(OUTPUT, "w", encoding="utf-8") as file:
            file.write(text())


if __name__ == "__main__":
    main()
