"""`python -m bench` is `mnist-bench`."""

from bench.cli import main

if __name__ == "__main__":
    main()
