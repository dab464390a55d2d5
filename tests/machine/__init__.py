"""A machine that writes programs, runs them for real, and compares what they saw and recorded with what they must.

``python -m tests.machine --programs 3000`` runs so many, and tells what they were made of. A program that goes wrong is
made as small as it can be, and printed.
"""
