"""The stage ``downscale`` of the pipeline: see `ida_rd.stages.downscale`."""

from ida_rd.stages.downscale import run

if __name__ == "__main__":
    run()
