"""The stage ``plan`` of the pipeline: see `ida_rd.stages.plan`."""

from ida_rd.stages.plan import run

if __name__ == "__main__":
    run()
