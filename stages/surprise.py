"""The stage ``surprise`` of the pipeline: see `ida_rd.stages.surprise`."""

from ida_rd.stages.surprise import run

if __name__ == "__main__":
    run()
