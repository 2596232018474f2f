"""The door over HTTP: submissions in, results out. `app` makes it, one module a group of routes.

Every route goes through `access`: who asks, what he may, and a session that sees his source's rows alone.
"""
