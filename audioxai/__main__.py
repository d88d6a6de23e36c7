"""``python -m audioxai``: the command line."""

from audioxai.commands.main import main

if __name__ == "__main__":
    main()
