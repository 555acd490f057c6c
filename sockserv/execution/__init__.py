"""What both ends of a remote command go by: what is asked, how it ends, and what can go wrong.

A **job** is one command that runs, with all the processes that it has started. Its number of bytes on each stream is
part of how it ended, so that an answer which was cut short is never taken for a success.
"""
