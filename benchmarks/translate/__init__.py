"""The sweep of `nox -s tests-translate`: public models and people's own, each translated in a process of its own."""
