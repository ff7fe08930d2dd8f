"""The screens of the documents: their commands are run, word for word, and what they print is compared.

A block that has ``<!-- run: NAME -->`` above it belongs to the world of that name: the blocks of one world
are run in order, in one shell, in a folder of their own. Ports, ids, tokens and times differ from run to run
and are not compared; `...` stands for anything, and on a line of its own for any lines. ``python -m
tests.screens`` writes what is printed now in the place of what no longer fits.
"""
