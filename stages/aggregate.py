"""The stage ``aggregate`` of the pipeline: see `ida_rd.stages.aggregate`."""

from ida_rd.stages.aggregate import run

if __name__ == "__main__":
    run()
