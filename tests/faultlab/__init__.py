"""The fault lab: every scenario breaks one thing under load and checks what a user notices.

``python -m tests.faultlab`` runs all of them against real processes: the gateway under gunicorn, the local Supabase,
Redis, nginx. A fault that did not happen fails its scenario, so a broken lab cannot pass.
"""
