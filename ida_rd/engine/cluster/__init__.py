"""Units of work on a Dask cluster: ``IDA_RD_ENGINE=dask``. Only then is what lies here, and with it dask, imported.

``IDA_RD_SCHEDULER``
    ``tcp://host:port``, or the path of the file that ``dask scheduler --scheduler-file`` writes.
``IDA_RD_CLUSTER_TIMEOUT``
    Seconds without any worker after which a run ends (default 300); the next one goes on.
``IDA_RD_ALLOW_MIXED=1``
    Workers may have other versions of libraries, or other kinds of devices; each unit remembers its own.

The scheduler sees numbers and small messages alone: results go to the store, which all workers must see. It needs
nothing of this package. `run` is the parent's side, with `connect` (the scheduler) and `look` (are the workers like
this run?); `remote` is a worker's.
"""
