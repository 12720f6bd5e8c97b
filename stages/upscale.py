"""The stage ``upscale`` of the pipeline: see `ida_rd.stages.upscale`."""

from ida_rd.stages.upscale import run

if __name__ == "__main__":
    run()
