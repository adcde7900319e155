"""Build the report of a run: a static site that needs no server and loads nothing from others.

::

    run folder ─► frames ─► scaling, readiness ─► charts ─► pages ─► site ─► index.html
                 (pandas)       (SciPy)          (Altair) (Markdown) (MkDocs)
"""

__version__ = "0.1.0"
