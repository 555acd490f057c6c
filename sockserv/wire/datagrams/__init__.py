"""Messages over a network that loses, repeats and reorders what it carries: pure, as all of `wire` (docs/protocol.md,
section 17).
"""
