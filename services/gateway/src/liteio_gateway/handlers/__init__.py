"""One module an operation group. Each handler reads as its own table of contents: parse, ask, render.

The dispatcher has authenticated the caller and asked for the operation's permission before a handler runs.
"""
