"""A chat at the terminal, and in pipes.

What is to be shown (`state`, `showing`, `visible`), what was typed (`typed`) and what could be (`completing`) know
neither a terminal nor a connection. `screen` has the terminal, in a thread of its own; `chatter` is between it and the
session of `client.chat`. `piped` needs none of them but `showing`.
"""
