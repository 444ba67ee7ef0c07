"""… in English."""
