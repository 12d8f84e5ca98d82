"""An answered error leaves no frame in memory: a frame has the request, and its password or token."""

from __future__ import annotations

import gc
from types import FrameType
from typing import Any

import pytest
from werkzeug.test import EnvironBuilder, run_wsgi_app

from tests.conftest import ENVIRONMENT
from tests.http.test_parity import ANSWERS, REQUESTS
from tests.upstream_double import UpstreamDouble, session
from velro_auth.app import Service, create_app
from velro_auth.config.settings import Settings

MORE: dict[str, dict[str, Any]] = {
    "supabase api, invalid": {"path": "/auth/v1/token?grant_type=password", "method": "POST", "json": {}},
    "supabase api, nowhere": {"path": "/auth/v1/nowhere"},
}


def frames_left_by(service: Service, request: dict[str, Any]) -> list[str]:
    """Send a request, and return the functions whose frames only a garbage collection frees."""
    builder = EnvironBuilder(**request)
    environ = builder.get_environ()
    builder.close()
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        run_wsgi_app(service, environ)
        gc.collect()
        return [one.f_code.co_name for one in gc.garbage if isinstance(one, FrameType)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


@pytest.mark.parametrize("fast_lane", [True, False])
@pytest.mark.parametrize("upstream_answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_no_answer_leaves_a_frame(
    upstream: UpstreamDouble, upstream_answer: dict[str, Any], *, fast_lane: bool
) -> None:
    settings = {
        "AUTH_LOGIN_URL": "https://app.example.com/login",
        "AUTH_SUPABASE_API": "1",
        "AUTH_THROTTLE_SCALE": "99",
    }
    service = create_app(Settings.from_environment({**ENVIRONMENT, **settings}), fast_lane=fast_lane)
    fixed = {"body": session(), **upstream_answer}
    upstream.answers(**fixed)

    gc.disable()
    try:
        for name, request in {**REQUESTS, **MORE}.items():
            # Twice: what is made on the first one may stay.
            frames_left_by(service, request)
            left = frames_left_by(service, request)
            # A defect keeps its traceback for the log.
            assert (name, left) == (name, []) or upstream_answer is ANSWERS["defect"]
    finally:
        gc.enable()
