"""The TypeScript client: its types are the gateway's, and what its pages show compiles."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.fixtures.typescript import compile_with
from tools.client_types import TARGET, types

ROOT = Path(__file__).resolve().parents[3]
HOW_TO = ROOT / "docs" / "how-to" / "use-from-typescript.md"
README = ROOT / "clients" / "typescript" / "README.md"

#: What the pieces of the how-to page take for granted.
GIVEN = """
import { AuthError, createAuth, type FactorToProve } from "velro-auth";
declare const auth: ReturnType<typeof createAuth>;
declare const email: string, password: string, hash: string, body: string;
declare function showText(text: string): void;
declare function showPicture(address: string): void;
declare function askForCodeOf(factors: FactorToProve[]): void;
"""


def blocks(page: Path) -> list[str]:
    return re.findall(r"```ts\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def test_the_types_are_made_from_the_gateway() -> None:
    assert TARGET.read_text("utf-8") == types(), "run: make client-types"


def test_what_the_pages_show_compiles(typescript_client: Path, tmp_path: Path) -> None:
    """Each block is a module, for a page that knows the package by its name."""
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "velro-auth").symlink_to(typescript_client)
    (tmp_path / "package.json").write_text('{"type": "module"}', "utf-8")
    shown = [*blocks(README), *blocks(HOW_TO)]
    for number, block in enumerate(shown):
        # A page may declare what it shows first twice: each log-in is a `const session`.
        code = block if "import " in block else f"{GIVEN}\n{block}"
        (tmp_path / f"block{number}.ts").write_text(f"{code}\nexport {{}};\n", "utf-8")
    options = {"strict": True, "target": "ES2022", "module": "NodeNext", "lib": ["ES2022", "DOM"], "types": []}
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": {**options, "noEmit": True}}), "utf-8")

    compile_with("--project", str(tmp_path))

    assert len(shown) >= 7


def test_a_wrong_call_does_not_compile(typescript_client: Path, tmp_path: Path) -> None:
    """The test above could not fail otherwise."""
    (tmp_path / "wrong.ts").write_text(
        f'import {{ createAuth }} from "{typescript_client}/dist/index.js";\n'
        'await createAuth({ url: "", mode: "token" }).login({ email: "a@b.c", passwort: "" });\n',
        "utf-8",
    )

    with pytest.raises(AssertionError, match="passwort"):
        compile_with("--strict", "--noEmit", "--module", "NodeNext", "--target", "ES2022", str(tmp_path / "wrong.ts"))


def test_the_quick_start_is_short() -> None:
    (code,) = blocks(README)

    assert len(code.splitlines()) <= 31
