"""Finished calls are read (decoded, parsed, counted, priced, written as a line) in processes of their own.

Python runs one thread at a time: whatever is read in the proxy's own process, stops its event loop meanwhile.
The proxy keeps each call until its line is on disk, writes spool and journal itself and gives the numbers; so
the death of a reading process loses nothing: another one is started, and reads the call again.
"""
