"""Small programs that show what goes wrong, and then how it goes right.

Each is a module to run, ``python -m examples.pitfalls.race``, on the Python that runs it or on
another one with ``--interpreter 3.14t``. Each has a function that gives what it saw as a record,
so that tests judge the same that people read. docs/explanation/shared-state.md tells their story.
"""
