"""The stage ``distort`` of the pipeline: see `ida_rd.stages.distort`."""

from ida_rd.stages.distort import run

if __name__ == "__main__":
    run()
