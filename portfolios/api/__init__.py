"""The REST API of portfolios; `kit` is what every app's API is made of."""
