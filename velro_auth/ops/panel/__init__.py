"""The index page of ``velro-auth dev``: what runs, a live panel, and buttons to try logins and faults.

Only ``velro_auth.ops.panel.app`` mounts it, and only ``velro-auth dev`` starts that: the application of production has
no setting for it.
"""
