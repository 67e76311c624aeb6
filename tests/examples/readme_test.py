"""The C block of the README is examples/hello.c, line for line, without its first comment."""
import re
import sys

readme = open(sys.argv[1], encoding="utf-8").read()
source = open(sys.argv[2], encoding="utf-8").read()
shown = re.search(r"```c\n(.*?)```", readme, re.S)
if shown is None:
    sys.exit("the README shows no C example")
kept = source[source.index("#include"):]
if shown.group(1) != kept:
    sys.exit("the README's example differs from examples/hello.c")
