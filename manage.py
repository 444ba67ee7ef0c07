#!/usr/bin/env python
"""Django's manage.py; `ginkgo` is the same from any directory."""

from ginkgo_site.cli import main

if __name__ == "__main__":
    main()
