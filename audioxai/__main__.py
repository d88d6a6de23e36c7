"""``python -m audioxai``: the command line."""

from audioxai.cli import main

if __name__ == "__main__":
    main()
