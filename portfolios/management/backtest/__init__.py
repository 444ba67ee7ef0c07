"""`ginkgo backtest`, by what is done: one run, or a sweep over a grid of parameters."""
