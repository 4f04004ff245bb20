"""`python -m CFSegmenterLib` is the command `cfsegmenter`, for torchrun and for Pythons without its script."""

from .cli import main

if __name__ == "__main__":
    main()
