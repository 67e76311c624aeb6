"""Makes the wheel: the package and, where TESSERA_LIBRARY names it, the library inside. A build backend as PEP 517 has
it (pip wheel .) and a program (build_wheel.py FOLDER); standard library only, and the same bytes from the same files."""

import base64
import hashlib
import os
import re
import sys
import sysconfig
import tarfile
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
LICENCE = os.path.join(HERE, "../../LICENSE")


def read(*path):
    with open(os.path.join(HERE, *path), "rb") as file:
        return file.read()


def project(field):
    return re.search(r'^%s = "(.*)"$' % field, read("pyproject.toml").decode(), re.M)[1]


def library():
    """The library's own file, not a link to it; None for a wheel that uses the system's."""
    path = os.environ.get("TESSERA_LIBRARY")
    return os.path.realpath(path) if path else None


def platform():
    return sysconfig.get_platform().replace("-", "_").replace(".", "_") if library() else "any"


def metadata():
    lines = ["Metadata-Version: 2.1", "Name: " + project("name"), "Version: " + project("version"),
             "Summary: " + project("description"), "License: Apache-2.0",
             "Requires-Python: " + project("requires-python"), "Provides-Extra: numpy",
             'Requires-Dist: numpy; extra == "numpy"', "Description-Content-Type: text/markdown", ""]
    return ("\n".join(lines) + "\n").encode() + read("README.md")


def sources():
    return sorted(name for name in os.listdir(os.path.join(HERE, "tessera")) if name.endswith((".py", ".typed")))


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    base = "%s-%s" % (project("name"), project("version"))
    tag, info = "py3-none-" + platform(), base + ".dist-info/"
    files = {"tessera/" + name: read("tessera", name) for name in sources()}
    if library():
        with open(library(), "rb") as file:
            files["tessera/lib/libtessera.so.0"] = file.read()
    if os.path.exists(LICENCE):
        files[info + "LICENSE"] = read(LICENCE)
    files[info + "METADATA"] = metadata()
    files[info + "WHEEL"] = ("Wheel-Version: 1.0\nGenerator: tessera\nRoot-Is-Purelib: %s\nTag: %s\n" % (
        "false" if library() else "true", tag)).encode()
    record = ["%s,sha256=%s,%d" % (name, base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode(),
                                   len(data)) for name, data in files.items()]
    files[info + "RECORD"] = ("\n".join(record + [info + "RECORD,,"]) + "\n").encode()
    wheel = "%s-%s.whl" % (base, tag)
    with zipfile.ZipFile(os.path.join(wheel_directory, wheel), "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o100755 if name.endswith(".so.0") else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(entry, data)
    return wheel


def build_sdist(sdist_directory, config_settings=None):
    base = "%s-%s" % (project("name"), project("version"))
    with tarfile.open(os.path.join(sdist_directory, base + ".tar.gz"), "w:gz") as out:
        for name in ["pyproject.toml", "README.md", "build_wheel.py"] + ["tessera/" + name for name in sources()]:
            out.add(os.path.join(HERE, name), base + "/" + name)
    return base + ".tar.gz"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(build_wheel(sys.argv[1]))
