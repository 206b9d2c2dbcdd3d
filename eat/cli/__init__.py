"""The commands of `eat`, listed in `eat.cli.main`: each composes its configuration, builds and calls.

The only place that imports hydra. ``conf/<command>.yaml`` configures a command; a folder of ``conf`` holds the choices
for the key of its name. What a command's settings are, and what they mean, stands in dataclasses: see ``settings``.
"""
