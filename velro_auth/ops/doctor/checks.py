"""All checks, in the order they run: each after those it needs."""

from __future__ import annotations

from typing import Final

from velro_auth.ops.doctor import accounts, captcha, configuration, gateway, issuance, platform, schema, store, supabase
from velro_auth.ops.doctor.checkup import Check

CHECKS: Final[tuple[Check, ...]] = (
    *configuration.CHECKS,
    *platform.CHECKS,
    *supabase.CHECKS,
    *issuance.CHECKS,
    *captcha.CHECKS,
    *accounts.CHECKS,
    *schema.CHECKS,
    *store.CHECKS,
    *gateway.CHECKS,
)
