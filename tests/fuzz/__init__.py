"""Any bytes give events or a `ProtocolError`, and nothing else.

`python -m tests.fuzz.connection --seconds 600 --seed 1` tries it for as long as you like.
"""
