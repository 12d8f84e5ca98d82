"""Runs a program that trusts one authority more: ``python -m benchmarks.trusting ca.pem gunicorn …``.

Who takes certifi's authorities whatever the environment says can be told no other way. The usual ones stay in the
file, since loading them is part of what a new TLS context costs.
"""

from __future__ import annotations

import runpy
import sys

import certifi
import certifi.core


def main() -> None:
    """Put the file in place of certifi's and run the module that comes after it."""
    authorities, module, *_ = sys.argv[1:]
    certifi.where = certifi.core.where = lambda: authorities
    sys.argv = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
