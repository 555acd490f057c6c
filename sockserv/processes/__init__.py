"""Starting programs and ending all that they have started, for small processes that do nothing else.

What is here imports nothing but the standard library, and not much of that: the processes that use it start in some
milliseconds, and fork as fast as any. They have one thread, so what is set for a moment (a directory, a limit) is set
for nobody else, and code may run between `fork` and `exec`.
"""
