"""``python -m ida_rd.commands``, where the command ``ida-rd`` is not on the path."""

from ida_rd.commands import main

if __name__ == "__main__":
    main()
