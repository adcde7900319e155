"""The report: from a run folder to a site that needs no server and asks nothing of any other.

::

    run folder ─► frames ─► scaling ─► charts ─► pages ─► site ─► site/index.html
                 (pandas)  (SciPy)   (Altair)  (Markdown) (MkDocs)
"""

__version__ = "0.1.0"
