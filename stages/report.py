"""The stage ``report`` of the pipeline: see `ida_rd.stages.report`."""

from ida_rd.stages.report import run

if __name__ == "__main__":
    run()
