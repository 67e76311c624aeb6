#!/usr/bin/env python3
"""Runs the conformance scenarios through the C API and writes scenarios.json and saved.state with what they gave;
with --check it compares instead and fails on a difference.
Usage: make.py [--check] LIBRARY MODELS_FOLDER"""

import ctypes
import json
import math
import os
import sys

import c_api
import scenario_list

HERE = os.path.dirname(os.path.abspath(__file__))
LIST, STATE = os.path.join(HERE, "scenarios.json"), os.path.join(HERE, "saved.state")
HEADER = os.path.join(HERE, "../../capi/include/tessera/tessera.h")


def same(expected, found):
    """Numbers that are not whole may differ by 0.001."""
    if isinstance(expected, float) and isinstance(found, float):
        return math.isclose(expected, found, rel_tol=0, abs_tol=1e-3)
    if isinstance(expected, dict):
        return isinstance(found, dict) and expected.keys() == found.keys() and all(
            same(value, found[key]) for key, value in expected.items())
    if isinstance(expected, list):
        return isinstance(found, list) and len(expected) == len(found) and all(map(same, expected, found))
    return expected == found


def run(runner, name, steps, keep_state):
    """The steps with their results."""
    found = []
    for step in steps:
        result = runner().run(step)
        if "/" in result.get("place", ""):
            del result["place"]  # a path
        found.append({**step, "expect": result} if result else step)
        if keep_state and name == "save_and_restore" and step["do"] == "save" and step["as"] == "x":
            with open(STATE, "wb") as file:
                file.write(runner().states["x"])
    return found


def stop_steps(greedy):
    """Stops that the greedy answer runs into."""
    answer = greedy["answers"][0]
    letters, tokens, s = answer["text"], answer["tokens"], scenario_list
    middle = len(letters) // 2
    stop, token = letters[middle:middle + 2], tokens[6]
    return s.host() + [
        s.text(), s.generate(s.KEEP_ON, ("strings", "request.stop", ["no such text", stop])), s.wait(),
        s.do("rewind", session="s", count=10),
        s.generate(s.KEEP_ON, ("ints", "request.stop_tokens", [token]), tag=2), s.wait(), s.do("tokens", session="s")]


def record(library, constants, folder, keep_state):
    result, greedy = [], None
    for name, what, steps in scenario_list.scenarios():
        runner = c_api.Steps(library, constants, folder)
        steps = stop_steps(greedy) if steps == "stops" else steps
        done = run(lambda: runner, name, steps, keep_state)
        runner.end()
        if name == "greedy":
            greedy = next(step["expect"] for step in done if step["do"] == "wait")
        result.append({"name": name, "what": what, "steps": done})
    return result


def write(scenarios):
    """One step a line."""
    encode = lambda value: json.dumps(value, ensure_ascii=False)
    with open(LIST, "w", encoding="utf-8") as out:
        out.write('{"format": 1, "tolerance": 0.001, "scenarios": [\n')
        out.write(",\n".join(
            '{"name": %s, "what": %s, "steps": [\n  %s\n]}' % (
                encode(s["name"]), encode(s["what"]), ",\n  ".join(map(encode, s["steps"]))) for s in scenarios))
        out.write("\n]}\n")


def main():
    check = "--check" in sys.argv
    path, folder = [a for a in sys.argv[1:] if a != "--check"]
    constants = c_api.header_constants(HEADER)
    found = record(ctypes.CDLL(os.path.abspath(path)), constants, folder, not check)
    if not check:
        return write(found)
    with open(LIST, encoding="utf-8") as file:
        expected = json.load(file)["scenarios"]
    found, wrong = json.loads(json.dumps(found)), 0
    if [s["name"] for s in expected] != [s["name"] for s in found]:
        sys.exit("the lists differ: run make.py without --check")
    for left, right in zip(expected, found):
        for one, two in zip(left["steps"], right["steps"]):
            if not same(one, two):
                wrong += 1
                print("%s:\n  expected %s\n  found    %s" % (left["name"], one, two))
        wrong += len(left["steps"]) != len(right["steps"])
    print("%d scenarios, %d differences" % (len(found), wrong))
    sys.exit(wrong != 0)


if __name__ == "__main__":
    main()
