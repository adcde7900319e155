"""Small programs that show a common mistake, and then the right way.

Each is a module: run ``python -m examples.pitfalls.race`` in a clone, on this Python or on another
one with ``--interpreter 3.14t``. Each module returns what it measured as a record, so tests check
what people read. docs/explanation/shared-state.md explains them.
"""
