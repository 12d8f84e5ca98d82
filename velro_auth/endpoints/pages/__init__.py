"""Pages for people: sign in, sign up, forgotten passwords, mailed links, the account.

The pages are an ordinary client of the service: their scripts call ``/api/v1/auth/*`` with the session cookie. Only the
sign-in also works without a script, so ``sign_in`` answers the form itself, by the same services.

Without a build step: ``templates/`` (Jinja), ``static/`` (styles and modules of JavaScript) and ``messages/`` (one TOML
file for each language) are served as they are written. A folder of the operator's own may replace each file.
"""
