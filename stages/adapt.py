"""The stage ``adapt`` of the pipeline: see `ida_rd.stages.adapt`."""

from ida_rd.stages.adapt import run

if __name__ == "__main__":
    run()
