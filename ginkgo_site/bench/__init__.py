"""`ginkgo bench`: how fast the platform is, beside its peers, on the same data in the same run (SPEC section 11)."""
