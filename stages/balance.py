"""The stage ``balance`` of the pipeline: see `ida_rd.stages.balance`."""

from ida_rd.stages.balance import run

if __name__ == "__main__":
    run()
