#!/usr/bin/env python3
"""Writes core/text/jinja/case_ranges.inc: upper, lower and title case as Python's str gives them.

Usage: make_case_ranges.py > core/text/jinja/case_ranges.inc
"""
import sys
import unicodedata

CODE_POINTS = [c for c in range(0x80, 0x110000) if not 0xD800 <= c < 0xE000]


def ranges(change):
    """[first, last, step, distance] of code points that change to one other."""
    rows = []
    for c in CODE_POINTS:
        changed = change(chr(c))
        if len(changed) != 1 or changed == chr(c):
            continue
        distance = ord(changed) - c
        if rows and rows[-1][3] == distance:
            row = rows[-1]
            gap = c - row[1]
            if gap == row[2] or (row[0] == row[1] and gap <= 2):
                row[1], row[2] = c, gap
                continue
        rows.append([c, c, 1, distance])
    return rows


def show(name, rows):
    print(f"constexpr CaseRange {name}[] = {{")
    line = ""
    for row in rows:
        entry = f"{{0x{row[0]:X}, 0x{row[1]:X}, {row[2]}, {row[3]}}},"
        if len(line) + len(entry) > 108:
            print(line)
            line = ""
        line += (" " if line else "") + entry
    print(line)
    print("};")


print(f"// Made by tests/goldens/chat/make_case_ranges.py, Unicode {unicodedata.unidata_version} (Python "
      f"{sys.version_info.major}.{sys.version_info.minor}).")
print("// clang-format off")
show("kUpper", ranges(str.upper))
show("kLower", ranges(str.lower))


def show_expansions(name, expansions):
    print(f"constexpr CaseExpansion {name}[] = {{")
    for c, changed in expansions:
        points = [f"0x{ord(u):X}" for u in changed] + ["0"] * (3 - len(changed))
        print(f"{{0x{c:X}, {{{', '.join(points)}}}}},")
    print("};")


uppers = [(c, chr(c).upper()) for c in CODE_POINTS]
show_expansions("kUpperExpansions", [(c, upper) for c, upper in uppers if len(upper) > 1])
show_expansions("kTitles", [(c, chr(c).title()) for c, upper in uppers if chr(c).title() != upper])
print("// clang-format on")
