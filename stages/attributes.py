"""The stage ``attributes`` of the pipeline: see `ida_rd.stages.attributes`."""

from ida_rd.stages.attributes import run

if __name__ == "__main__":
    run()
